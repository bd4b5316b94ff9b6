/**
 * The saved commands that come with the system, as migration 0015 brings them: a later change is a later migration.
 * All of them only look. PowerShell is for Windows, sh for Linux and macOS (POSIX utilities, with what each has besides).
 */

interface SystemCommand {
  id: string;
  name: string;
  description: string;
  category: string;
  tags: readonly string[];
  scripts: { powershell: string; sh: string };
  parameters: readonly object[];
}

const id = (number: number): string => `5a7ec0de-0000-5000-8000-${number.toString(16).padStart(12, '0')}`;

const parameter = (name: string, type: string, description: string, facts: object): object => ({
  name,
  type,
  description,
  required: false,
  default: null,
  options: [],
  min: null,
  max: null,
  ...facts,
});

const count = (description: string, most = 1000): object =>
  parameter('count', 'integer', description, { default: 10, min: 1, max: most });

export const systemCommands: readonly SystemCommand[] = [
  {
    id: id(1),
    name: 'System information',
    description: 'Name, operating system, version, architecture and time of the last start',
    category: 'system',
    tags: ['inventory'],
    scripts: {
      powershell:
        'Get-CimInstance Win32_OperatingSystem | Select-Object CSName, Caption, Version, OSArchitecture, LastBootUpTime | Format-List',
      sh: 'uname -a; if [ -r /etc/os-release ]; then cat /etc/os-release; elif command -v sw_vers >/dev/null; then sw_vers; fi',
    },
    parameters: [],
  },
  {
    id: id(2),
    name: 'Uptime',
    description: 'How long the machine has been up',
    category: 'system',
    tags: ['health'],
    scripts: {
      powershell:
        '(Get-Date) - (Get-CimInstance Win32_OperatingSystem).LastBootUpTime | Select-Object Days, Hours, Minutes | Format-List',
      sh: 'if command -v uptime >/dev/null; then uptime; else read -r up rest < /proc/uptime; echo "up ${up} s"; fi',
    },
    parameters: [],
  },
  {
    id: id(3),
    name: 'Disk usage',
    description: 'Size and free space of every volume',
    category: 'storage',
    tags: ['health', 'inventory'],
    scripts: {
      powershell:
        "Get-CimInstance Win32_LogicalDisk -Filter 'DriveType=3' | Select-Object DeviceID, @{n='SizeGB';e={[math]::Round($_.Size/1GB,1)}}, @{n='FreeGB';e={[math]::Round($_.FreeSpace/1GB,1)}} | Format-Table -AutoSize",
      sh: 'df -Pk',
    },
    parameters: [],
  },
  {
    id: id(4),
    name: 'Memory usage',
    description: 'Total and free memory',
    category: 'system',
    tags: ['health'],
    scripts: {
      powershell:
        "Get-CimInstance Win32_OperatingSystem | Select-Object @{n='TotalMB';e={[math]::Round($_.TotalVisibleMemorySize/1KB)}}, @{n='FreeMB';e={[math]::Round($_.FreePhysicalMemory/1KB)}} | Format-List",
      sh: "if [ -r /proc/meminfo ]; then grep -E '^(MemTotal|MemFree|MemAvailable|SwapTotal|SwapFree):' /proc/meminfo; else vm_stat; fi",
    },
    parameters: [],
  },
  {
    id: id(5),
    name: 'Processor load',
    description: 'Processors and how busy they are',
    category: 'system',
    tags: ['health'],
    scripts: {
      powershell:
        'Get-CimInstance Win32_Processor | Select-Object Name, NumberOfLogicalProcessors, LoadPercentage | Format-List',
      sh: 'getconf _NPROCESSORS_ONLN; if [ -r /proc/loadavg ]; then cat /proc/loadavg; else sysctl -n vm.loadavg; fi',
    },
    parameters: [],
  },
  {
    id: id(6),
    name: 'Processes by processor time',
    description: 'The processes that took the most processor time',
    category: 'processes',
    tags: ['health'],
    scripts: {
      powershell:
        'Get-Process | Sort-Object CPU -Descending | Select-Object -First $count Id, ProcessName, CPU, WorkingSet | Format-Table -AutoSize',
      sh: `if command -v ps >/dev/null; then ps -eo pid,pcpu,time,comm | sort -k2 -rn | head -n "$count"
else for stat in /proc/[0-9]*/stat; do cat "$stat" 2>/dev/null; done | sort -k14 -rn | head -n "$count" | cut -d ' ' -f 1,2,14; fi`,
    },
    parameters: [count('How many')],
  },
  {
    id: id(7),
    name: 'Processes by memory',
    description: 'The processes that hold the most memory',
    category: 'processes',
    tags: ['health'],
    scripts: {
      powershell:
        'Get-Process | Sort-Object WorkingSet -Descending | Select-Object -First $count Id, ProcessName, WorkingSet | Format-Table -AutoSize',
      sh: `if command -v ps >/dev/null; then ps -eo pid,rss,comm | sort -k2 -rn | head -n "$count"
else for stat in /proc/[0-9]*/stat; do cat "$stat" 2>/dev/null; done | sort -k24 -rn | head -n "$count" | cut -d ' ' -f 1,2,24; fi`,
    },
    parameters: [count('How many')],
  },
  {
    id: id(8),
    name: 'Find processes',
    description: 'Processes of this name',
    category: 'processes',
    tags: [],
    scripts: {
      powershell:
        'Get-Process -Name $name -ErrorAction SilentlyContinue | Select-Object Id, ProcessName, StartTime, CPU | Format-Table -AutoSize; exit 0',
      sh: `if command -v ps >/dev/null; then ps -eo pid,comm | grep -F -- "$name" || echo 'none'
else grep -lF -- "$name" /proc/[0-9]*/comm 2>/dev/null || echo 'none'; fi`,
    },
    parameters: [parameter('name', 'name', 'Name of the program', { required: true })],
  },
  {
    id: id(9),
    name: 'Running services',
    description: 'Services that run now',
    category: 'services',
    tags: ['inventory'],
    scripts: {
      powershell:
        "Get-Service | Where-Object Status -eq 'Running' | Select-Object Name, DisplayName | Format-Table -AutoSize",
      sh: `if [ -d /run/systemd/system ]; then systemctl list-units --type=service --state=running --no-pager --plain
elif command -v launchctl >/dev/null; then launchctl list
elif command -v service >/dev/null; then service --status-all 2>&1 || true
else echo 'no service manager'; fi`,
    },
    parameters: [],
  },
  {
    id: id(10),
    name: 'Service status',
    description: 'State of one service',
    category: 'services',
    tags: ['health'],
    scripts: {
      powershell:
        'Get-Service -Name $service | Select-Object Name, DisplayName, Status, StartType | Format-List',
      sh: `if [ -d /run/systemd/system ]; then systemctl show --no-pager -p Id -p ActiveState -p SubState -- "$service"
elif command -v launchctl >/dev/null; then launchctl list "$service"
elif command -v service >/dev/null; then service "$service" status 2>&1 || echo "ended with $?"
else echo 'no service manager'; fi`,
    },
    parameters: [parameter('service', 'name', 'Name of the service', { required: true })],
  },
  {
    id: id(11),
    name: 'Network addresses',
    description: 'Addresses of every network interface',
    category: 'network',
    tags: ['inventory'],
    scripts: {
      powershell:
        'Get-NetIPAddress | Select-Object InterfaceAlias, AddressFamily, IPAddress, PrefixLength | Format-Table -AutoSize',
      sh: 'if command -v ip >/dev/null; then ip addr; elif command -v ifconfig >/dev/null; then ifconfig -a; else cat /proc/net/dev /proc/net/fib_trie 2>/dev/null; fi',
    },
    parameters: [],
  },
  {
    id: id(12),
    name: 'Routes',
    description: 'The routing table',
    category: 'network',
    tags: [],
    scripts: {
      powershell:
        'Get-NetRoute | Select-Object DestinationPrefix, NextHop, InterfaceAlias, RouteMetric | Format-Table -AutoSize',
      sh: 'if command -v ip >/dev/null; then ip route; elif command -v netstat >/dev/null; then netstat -rn; else cat /proc/net/route; fi',
    },
    parameters: [],
  },
  {
    id: id(13),
    name: 'Listening ports',
    description: 'Ports on which programs wait for connections',
    category: 'network',
    tags: ['security'],
    scripts: {
      powershell:
        'Get-NetTCPConnection -State Listen | Select-Object LocalAddress, LocalPort, OwningProcess | Sort-Object LocalPort | Format-Table -AutoSize',
      sh: 'if command -v ss >/dev/null; then ss -lntu; elif command -v netstat >/dev/null; then netstat -an | grep -i listen; else cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; fi',
    },
    parameters: [],
  },
  {
    id: id(14),
    name: 'Test a connection',
    description: 'Does a port of a host accept connections?',
    category: 'network',
    tags: ['health'],
    scripts: {
      powershell:
        'Test-NetConnection -ComputerName $target -Port $port | Select-Object ComputerName, RemotePort, TcpTestSucceeded | Format-List',
      sh: `if command -v nc >/dev/null; then nc -z -w 5 "$target" "$port" && echo open || echo closed
elif command -v curl >/dev/null; then
  case "$(curl -s -o /dev/null --max-time 5 -w '%{remote_ip}' "http://$target:$port/")" in '') echo closed ;; *) echo open ;; esac
else echo 'neither nc nor curl is here'; exit 1; fi`,
    },
    parameters: [
      parameter('target', 'host', 'Host name or address', { default: 'localhost' }),
      parameter('port', 'integer', 'Port', { required: true, min: 1, max: 65_535 }),
    ],
  },
  {
    id: id(15),
    name: 'Look up a name',
    description: 'Addresses of a host name',
    category: 'network',
    tags: [],
    scripts: {
      powershell:
        'Resolve-DnsName -Name $target | Select-Object Name, Type, IPAddress | Format-Table -AutoSize',
      sh: 'if command -v getent >/dev/null; then getent hosts "$target"; elif command -v dscacheutil >/dev/null; then dscacheutil -q host -a name "$target"; else nslookup "$target"; fi',
    },
    parameters: [parameter('target', 'host', 'Host name', { default: 'localhost' })],
  },
  {
    id: id(16),
    name: 'Local users',
    description: 'Accounts of this machine',
    category: 'security',
    tags: ['inventory'],
    scripts: {
      powershell: 'Get-LocalUser | Select-Object Name, Enabled, LastLogon | Format-Table -AutoSize',
      sh: 'if command -v dscl >/dev/null; then dscl . -list /Users; else cut -d : -f 1,3,7 /etc/passwd; fi',
    },
    parameters: [],
  },
  {
    id: id(17),
    name: 'Who is logged in',
    description: 'Sessions of people',
    category: 'security',
    tags: [],
    scripts: {
      powershell: 'quser 2>$null; exit 0',
      sh: 'if command -v who >/dev/null; then who; else id; fi',
    },
    parameters: [],
  },
  {
    id: id(18),
    name: 'Latest log entries',
    description: 'The newest entries of the system log',
    category: 'logs',
    tags: ['health'],
    scripts: {
      powershell:
        'Get-WinEvent -LogName System -MaxEvents $count | Select-Object TimeCreated, LevelDisplayName, ProviderName, Message | Format-List',
      sh: `if command -v journalctl >/dev/null; then journalctl --no-pager -n "$count" 2>&1
elif [ -r /var/log/syslog ]; then tail -n "$count" /var/log/syslog
elif [ -r /var/log/messages ]; then tail -n "$count" /var/log/messages
elif [ -r /var/log/system.log ]; then tail -n "$count" /var/log/system.log
else echo 'no readable system log'; fi`,
    },
    parameters: [count('How many entries')],
  },
  {
    id: id(19),
    name: 'List a folder',
    description: 'Files of a folder with size and time',
    category: 'files',
    tags: [],
    scripts: {
      powershell:
        'Get-ChildItem -LiteralPath $path -Force | Select-Object Mode, Length, LastWriteTime, Name | Format-Table -AutoSize',
      sh: 'ls -la -- "$path"',
    },
    parameters: [parameter('path', 'path', 'The folder', { default: '.' })],
  },
  {
    id: id(20),
    name: 'Largest files',
    description: 'The largest files below a folder, on the same volume',
    category: 'files',
    tags: ['health'],
    scripts: {
      powershell:
        'Get-ChildItem -LiteralPath $path -Recurse -File -ErrorAction SilentlyContinue | Sort-Object Length -Descending | Select-Object -First $count Length, FullName | Format-Table -AutoSize',
      sh: 'find "$path" -xdev -type f -exec du -k {} + 2>/dev/null | sort -rn | head -n "$count"',
    },
    parameters: [parameter('path', 'path', 'Where to look', { default: '.' }), count('How many')],
  },
  {
    id: id(21),
    name: 'Checksum of a file',
    description: 'SHA-256 of a file',
    category: 'files',
    tags: ['security'],
    scripts: {
      powershell: 'Get-FileHash -Algorithm SHA256 -LiteralPath $path | Format-List',
      sh: 'if command -v sha256sum >/dev/null; then sha256sum -- "$path"; else shasum -a 256 -- "$path"; fi',
    },
    parameters: [parameter('path', 'path', 'The file', { required: true })],
  },
  {
    id: id(22),
    name: 'Installed software',
    description: 'Programs that the package manager or the installer knows',
    category: 'software',
    tags: ['inventory'],
    scripts: {
      powershell:
        "Get-ItemProperty 'HKLM:\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*' | Where-Object DisplayName | Select-Object DisplayName, DisplayVersion, Publisher | Sort-Object DisplayName | Format-Table -AutoSize",
      sh: `if command -v dpkg-query >/dev/null; then dpkg-query -W
elif command -v rpm >/dev/null; then rpm -qa
elif command -v apk >/dev/null; then apk info -v
elif command -v pacman >/dev/null; then pacman -Q
elif command -v brew >/dev/null; then brew list --versions
else echo 'no package manager'; fi`,
    },
    parameters: [],
  },
  {
    id: id(23),
    name: 'Environment variables',
    description: 'Names of the variables that commands see; values are left out, they may be secret',
    category: 'system',
    tags: [],
    scripts: {
      powershell: 'Get-ChildItem Env: | Select-Object -ExpandProperty Name',
      sh: "env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p' | sort",
    },
    parameters: [],
  },
  {
    id: id(24),
    name: 'Date and time zone',
    description: 'Time of the machine, to compare clocks',
    category: 'system',
    tags: ['health'],
    scripts: {
      powershell: "Get-Date -Format 'o'; (Get-TimeZone).Id",
      sh: 'date; date -u',
    },
    parameters: [],
  },
];
