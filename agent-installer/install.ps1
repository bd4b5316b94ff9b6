# Installs the agent on Windows, or removes it. Run it in an elevated PowerShell 5.1 or newer:
#
#   powershell -ExecutionPolicy Bypass -File install.ps1
#
#   -Directory DIR   where the program goes              %ProgramFiles%\SteelthreadAgent
#   -AgentHome DIR   journal, identity, work directory   %ProgramData%\SteelthreadAgent
#   -NoService       copy the files only
#   -NoStart         make the service, but do not start it
#   -Debug           let the agent log debug events
#   -Uninstall       stop and remove the service and the program; the home stays
param(
    [string]$Directory = (Join-Path $env:ProgramFiles 'SteelthreadAgent'),
    [string]$AgentHome = (Join-Path $env:ProgramData 'SteelthreadAgent'),
    [switch]$NoService,
    [switch]$NoStart,
    [switch]$Debug,
    [switch]$Uninstall
)
$ErrorActionPreference = 'Stop'

$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$administrator = [Security.Principal.WindowsBuiltInRole]::Administrator
if (-not (New-Object Security.Principal.WindowsPrincipal $identity).IsInRole($administrator)) {
    throw 'Run this in a PowerShell that was started as administrator, or run the agent in the foreground: .\run.ps1'
}

$switches = @{ AUTO_START = '1'; RUN_AS_SERVICE = '1'; DEBUG = '0' }
$settings = Join-Path $PSScriptRoot 'install.conf'
if (Test-Path -LiteralPath $settings) {
    foreach ($line in Get-Content -LiteralPath $settings) {
        if ($line -match '^(AUTO_START|RUN_AS_SERVICE|DEBUG)=([01])$') { $switches[$Matches[1]] = $Matches[2] }
    }
}
if ($NoService) { $switches.RUN_AS_SERVICE = '0' }
if ($NoStart) { $switches.AUTO_START = '0' }
if ($Debug) { $switches.DEBUG = '1' }

$serviceScript = Join-Path $PSScriptRoot 'windows-service.ps1'
$files = 'run.ps1', 'find-runtime.ps1', 'windows-service.ps1', 'steelthread-agent.mjs', 'steelthread_agent.py', 'config.json'

if ($Uninstall) {
    & $serviceScript -Remove -Directory $Directory
    foreach ($name in $files + 'steelthread-agent-service.exe') {
        Remove-Item -LiteralPath (Join-Path $Directory $name) -Force -ErrorAction SilentlyContinue
    }
    Remove-Item -LiteralPath $Directory -ErrorAction SilentlyContinue
    Write-Output "Removed. The agent's home is left: $AgentHome"
    exit 0
}

# Only administrators and the system may enter: the home holds the agent's token, the program runs as the system.
foreach ($path in $Directory, $AgentHome) {
    New-Item -ItemType Directory -Force -Path $path | Out-Null
    & icacls.exe $path /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "the rights of $path could not be set" }
}
if ($switches.RUN_AS_SERVICE -eq '1') { & $serviceScript -Remove -Directory $Directory }
foreach ($name in $files) {
    $source = Join-Path $PSScriptRoot $name
    # What an earlier package of the other kind left would be what runs.
    if (Test-Path -LiteralPath $source) { Copy-Item -LiteralPath $source -Destination $Directory -Force }
    else { Remove-Item -LiteralPath (Join-Path $Directory $name) -Force -ErrorAction SilentlyContinue }
}
Write-Output "Installed in $Directory"
if ($switches.RUN_AS_SERVICE -eq '1') {
    & (Join-Path $Directory 'windows-service.ps1') -Directory $Directory -AgentHome $AgentHome `
        -Start:($switches.AUTO_START -eq '1') -DebugLog:($switches.DEBUG -eq '1')
}
