# Finds what the agent of this directory runs on: Node.js for steelthread-agent.mjs, else Python.
function Find-SteelthreadRuntime([string]$Directory) {
    $bundle = Join-Path $Directory 'steelthread-agent.mjs'
    if (Test-Path -LiteralPath $bundle) {
        $node = Get-Command node -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
        if (-not $node) { throw 'The agent needs Node.js 20.19 or newer: https://nodejs.org' }
        return @{ Program = $node.Source; Arguments = @($bundle) }
    }
    foreach ($name in @('py', 'python3', 'python')) {
        $command = Get-Command $name -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
        if (-not $command) { continue }
        # The name may be a launcher, or a link to the store that is no Python at all: ask for the program itself.
        $found = & $command.Source -c 'import sys; print(sys.executable if sys.version_info >= (3, 8) else "")' 2>$null
        if ($LASTEXITCODE -eq 0 -and $found) {
            return @{ Program = "$found".Trim(); Arguments = @('-I', (Join-Path $Directory 'steelthread_agent.py')) }
        }
    }
    throw 'The agent needs Python 3.8 or newer, installed for all users: https://www.python.org'
}
