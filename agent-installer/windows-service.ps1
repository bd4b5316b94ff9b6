# Makes the Windows service of an installed agent, or removes it. install.ps1 calls it.
#
# A program must speak with the service manager to be a service, which neither Node.js nor Python does by itself. So a
# small service is compiled here, by the compiler that every Windows has, that keeps the agent running.
param(
    [Parameter(Mandatory = $true)][string]$Directory,
    [string]$AgentHome,
    [switch]$Start,
    [switch]$DebugLog,
    [switch]$Remove
)
$ErrorActionPreference = 'Stop'
$name = 'SteelthreadAgent'
$program = Join-Path $Directory 'steelthread-agent-service.exe'

if (Get-Service -Name $name -ErrorAction SilentlyContinue) {
    Stop-Service -Name $name -Force -ErrorAction SilentlyContinue
    & sc.exe delete $name | Out-Null
}
if ($Remove) { return }

$source = @'
using System;
using System.Diagnostics;
using System.IO;
using System.ServiceProcess;
using System.Text;
using System.Threading;

// Arguments: home, program of the agent, its arguments. Keeps it running; ends its whole tree when it is stopped.
public class SteelthreadAgentService : ServiceBase
{
    private const int RestartAfterMs = 10000;
    private const long MaxLogBytes = 10 * 1024 * 1024;
    private readonly string[] given;
    private readonly ManualResetEvent stopping = new ManualResetEvent(false);
    private readonly object gate = new object();
    private Process agent;
    private Thread keeper;

    public SteelthreadAgentService(string[] given)
    {
        this.given = given;
        ServiceName = "SteelthreadAgent";
        CanShutdown = true;
    }

    public static void Main(string[] args)
    {
        ServiceBase.Run(new SteelthreadAgentService(args));
    }

    protected override void OnStart(string[] args)
    {
        keeper = new Thread(Keep);
        keeper.IsBackground = true;
        keeper.Start();
    }

    protected override void OnStop()
    {
        stopping.Set();
        lock (gate)
        {
            if (agent != null) EndTree(agent.Id);
        }
        keeper.Join(20000);
    }

    protected override void OnShutdown()
    {
        OnStop();
    }

    private void Keep()
    {
        do
        {
            try { RunOnce(); }
            catch (Exception error) { Append(error.Message); }
        }
        while (!stopping.WaitOne(RestartAfterMs));
    }

    private void RunOnce()
    {
        ProcessStartInfo start = new ProcessStartInfo(given[1], CommandLine());
        start.UseShellExecute = false;
        start.CreateNoWindow = true;
        start.RedirectStandardError = true;
        start.EnvironmentVariables["STEELTHREAD_AGENT_HOME"] = given[0];
        Process process = new Process();
        process.StartInfo = start;
        process.ErrorDataReceived += delegate(object sender, DataReceivedEventArgs line)
        {
            if (line.Data != null) Append(line.Data);
        };
        lock (gate)
        {
            if (stopping.WaitOne(0)) return;
            process.Start();
            agent = process;
        }
        process.BeginErrorReadLine();
        process.WaitForExit();
        lock (gate) { agent = null; }
    }

    // Quoted as the C runtime reads it back (a path never ends in a backslash here, but it may hold blanks).
    private string CommandLine()
    {
        StringBuilder line = new StringBuilder();
        for (int i = 2; i < given.Length; i++)
        {
            if (i > 2) line.Append(' ');
            line.Append('"').Append(given[i].Replace("\"", "\\\"")).Append('"');
        }
        return line.ToString();
    }

    private static void EndTree(int id)
    {
        ProcessStartInfo kill = new ProcessStartInfo("taskkill.exe", "/T /F /PID " + id);
        kill.UseShellExecute = false;
        kill.CreateNoWindow = true;
        using (Process process = Process.Start(kill)) process.WaitForExit(15000);
    }

    private void Append(string line)
    {
        lock (stopping)
        {
            try
            {
                string path = Path.Combine(given[0], "agent.log");
                FileInfo file = new FileInfo(path);
                if (file.Exists && file.Length > MaxLogBytes)
                {
                    File.Delete(path + ".1");
                    File.Move(path, path + ".1");
                }
                File.AppendAllText(path, line + Environment.NewLine);
            }
            catch (IOException) { }
        }
    }
}
'@

. (Join-Path $Directory 'find-runtime.ps1')
$runtime = Find-SteelthreadRuntime $Directory
$agent = @($runtime.Arguments) + @('--config', (Join-Path $Directory 'config.json'))
if ($DebugLog) { $agent += '--debug' }

# Windows PowerShell compiles programs; newer ones only libraries. It is on every Windows.
$sourceFile = Join-Path $Directory 'steelthread-agent-service.cs'
Set-Content -LiteralPath $sourceFile -Value $source -Encoding UTF8
try {
    $compile = 'param($from, $to) Add-Type -TypeDefinition ([IO.File]::ReadAllText($from)) -OutputAssembly $to ' +
        '-OutputType ConsoleApplication -ReferencedAssemblies System.ServiceProcess'
    $script = Join-Path $Directory 'compile-service.ps1'
    Set-Content -LiteralPath $script -Value $compile -Encoding UTF8
    $windowsPowerShell = Join-Path $env:SystemRoot 'System32\WindowsPowerShell\v1.0\powershell.exe'
    & $windowsPowerShell -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $script $sourceFile $program
    if ($LASTEXITCODE -ne 0 -or -not (Test-Path -LiteralPath $program)) { throw 'the service could not be compiled' }
} finally {
    Remove-Item -LiteralPath $sourceFile, $script -Force -ErrorAction SilentlyContinue
}

$parts = @($program, $AgentHome, $runtime.Program) + $agent
foreach ($part in $parts) {
    if ($part.Contains('"')) { throw "a path must not hold a quote: $part" }
}
$commandLine = ($parts | ForEach-Object { '"' + $_ + '"' }) -join ' '
New-Service -Name $name -BinaryPathName $commandLine -DisplayName 'Steelthread agent' `
    -Description 'Runs approved commands on this machine' -StartupType Automatic | Out-Null
& sc.exe failure $name reset= 86400 actions= restart/10000/restart/10000/restart/60000 | Out-Null
if ($Start) {
    Start-Service -Name $name
    Write-Output 'The service runs.'
} else {
    Write-Output 'The service is ready to be started: Start-Service SteelthreadAgent'
}
