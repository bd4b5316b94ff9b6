# Runs the agent in the foreground. Arguments go to the agent: .\run.ps1 --debug
$ErrorActionPreference = 'Stop'
. (Join-Path $PSScriptRoot 'find-runtime.ps1')
$runtime = Find-SteelthreadRuntime $PSScriptRoot
$arguments = @($runtime.Arguments) + @('--config', (Join-Path $PSScriptRoot 'config.json')) + $args
& $runtime.Program @arguments
exit $LASTEXITCODE
