import { isBroadTarget, isSystemPath } from './paths.ts';

/**
 * What is known about programs, as data. A program that is in no table is `caution`: not understood.
 * Names are lower case and without folder or `.exe`.
 */

export type DangerLabel = 'safe' | 'caution' | 'dangerous';

/** The arguments of one simple command, after wrappers were taken off. */
export interface Args {
  /** All arguments as written. */
  all: readonly string[];
  /** Those that are no options. */
  operands: readonly string[];
  /** All arguments in one lower-case line. */
  line: string;
  /** Has this option, alone (`--force`, `--force=x`) or among bundled letters (`-rf` has `-r`). */
  has(...options: string[]): boolean;
  /** At least one argument holds a variable, substitution or glob. */
  dynamic: boolean;
}

/** A test on the arguments; the first rule of a program that matches gives label and reason. */
export interface Rule {
  label: DangerLabel;
  reason: string;
  when(args: Args): boolean;
}

const dangerous = (reason: string, when: Rule['when'] = () => true): Rule => ({
  label: 'dangerous',
  reason,
  when,
});
const caution = (reason: string, when: Rule['when'] = () => true): Rule => ({
  label: 'caution',
  reason,
  when,
});
const safe = (when: Rule['when'] = () => true): Rule => ({ label: 'safe', reason: 'only reads', when });

const first = (args: Args) => args.operands[0] ?? '';
const second = (args: Args) => args.operands[1] ?? '';
const firstIs =
  (...names: string[]) =>
  (args: Args) =>
    names.includes(first(args));
const touchesSystem = (args: Args) => args.operands.some(isSystemPath);
const lastIsSystem = (args: Args) => isSystemPath(args.operands.at(-1) ?? '');
const isBroad = (args: Args) => args.operands.some(isBroadTarget);
const matches = (pattern: RegExp) => (args: Args) => pattern.test(args.line);

const writesSystem = dangerous('changes files of the operating system', lastIsSystem);

/** Only read, whatever their arguments; they write to no file and start no program. */
export const readers = new Set(
  `ls pwd whoami id groups uname uptime free df du wc head tail cat nl tac rev cut stat basename dirname realpath
  readlink echo true false test [ [[ expr sleep which type whereis ps pstree pgrep pidof w who users last lastlog
  grep egrep fgrep md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum sum cmp diff comm join paste fold
  fmt column expand unexpand tr nproc arch lscpu lsblk lsusb lspci lsmod lsof vmstat iostat mpstat findmnt getconf locale
  tty seq strings hexdump od numfmt cal logname zcat zgrep bzcat xzcat jq cd : return break continue exit wait jobs
  dirs times ulimit umask shift let finger namei lsattr getfacl tsort base32 netstat`.split(/\s+/),
);

/** SQL that throws data away; asked of any argument or document of a database client. */
const destructiveSql =
  /\b(?:drop|truncate)\s+(?:table|database|schema|user|role|view|index|tablespace|owned|if\b|[\w".]+)|\bdelete\s+from\s+[\w".`]+\s*(?:;|$|["'])/i;

/** Inline code that deletes, starts programs or opens sockets. */
export const dangerousCode =
  /rmtree|rmsync|unlink|removedirs|os\.remove|os\.system|popen|subprocess|child_process|execsync|\bexec\s*\(|\bsystem\s*\(|rm\s+-[a-z]*[rf]|mkfs|\/dev\/(?:sd|nvme|tcp)|socket|fork\b|file_put_contents|fileutils|b64decode|frombase64/i;

const sqlClient = [
  dangerous('throws database data away', (args) => destructiveSql.test(args.line)),
  caution('talks to a database'),
];
const inlineCode = [
  safe((args) => args.all.length === 1 && args.has('--version', '-V', '-v')),
  dangerous('runs inline code that deletes, starts programs or opens sockets', (args) =>
    dangerousCode.test(args.line),
  ),
  caution('runs a program of its own'),
];
const diskTool = [
  safe((args) => args.has('-l', '--list', '-h', '--help') && args.all.length <= 2),
  dangerous('changes disks or file systems'),
];
const powerTool = [dangerous('stops or restarts the machine')];
const accountTool = [dangerous('removes accounts')];
const archiveReader = (args: Args) =>
  /^-?[a-z]*t[a-z]*$/.test(args.all[0] ?? '') && !/[xcru]/.test(args.all[0] ?? '');

const containers: Rule[] = [
  dangerous('deletes containers, images or volumes', matches(/(?:^|\s)(?:rm|rmi|prune|kill|down)(?:\s|$)/)),
  dangerous(
    'gives a container the whole machine',
    matches(/--privileged|--pid[= ]host|(?:-v|--volume)[= ]?\/:|docker\.sock/),
  ),
  dangerous('stops services', (args) => firstIs('stop')(args) || second(args) === 'stop'),
  safe(firstIs('ps', 'images', 'version', 'info', 'port', 'top', 'diff', 'history')),
  safe((args) => /^(?:ls|list|ps)$/.test(second(args))),
  caution('works with containers'),
];

/** Program → rules in order of asking. No match → `caution`. */
export const rules: Record<string, readonly Rule[]> = {
  rm: [
    dangerous('removes the root file system guard', (args) => args.has('--no-preserve-root')),
    dangerous('deletes a broad or system folder', isBroad),
    dangerous(
      'deletes a tree that cannot be told beforehand',
      (args) => args.dynamic && args.has('-r', '-R', '--recursive'),
    ),
    caution('deletes files'),
  ],
  rmdir: [dangerous('deletes a system folder', isBroad), caution('deletes folders')],
  unlink: [dangerous('deletes system files', touchesSystem), caution('deletes files')],
  shred: [dangerous('destroys data beyond recovery')],
  srm: [dangerous('destroys data beyond recovery')],
  wipe: [dangerous('destroys data beyond recovery')],
  truncate: [dangerous('empties files')],
  dd: [
    dangerous('writes to a device or a system file', (args) =>
      args.all.some((arg) => arg.startsWith('of=') && isSystemPath(arg.slice(3))),
    ),
    caution('copies raw data'),
  ],
  mv: [
    dangerous('throws files away', (args) => args.operands.some((path) => path === '/dev/null')),
    dangerous('moves a broad or system folder', isBroad),
    writesSystem,
    caution('moves or overwrites files'),
  ],
  cp: [writesSystem, caution('writes files')],
  install: [writesSystem, caution('writes files')],
  ln: [writesSystem, caution('writes links')],
  rsync: [
    dangerous('deletes what the source lacks', (args) => args.line.includes('--del')),
    writesSystem,
    caution('copies files'),
  ],
  tee: [
    dangerous('writes to system files or devices', touchesSystem),
    safe((args) => args.operands.every((path) => path === '/dev/null')),
    caution('writes files'),
  ],
  touch: [caution('writes files')],
  mkdir: [caution('makes folders')],
  chmod: [
    dangerous(
      'opens files to everybody or changes a broad or system folder',
      (args) => isBroad(args) || (args.has('-R', '--recursive') && /777|666|a\+|o\+w/.test(args.line)),
    ),
    dangerous('makes a program run as its owner', matches(/(?:^|\s)(?:[ugoa]*\+[rwx]*s|[2467]\d{3})\b/)),
    caution('changes permissions'),
  ],
  chown: [dangerous('changes the owner of a broad or system folder', isBroad), caution('changes owners')],
  chgrp: [dangerous('changes the owner of a broad or system folder', isBroad), caution('changes owners')],
  chattr: [dangerous('changes attributes of system files', touchesSystem), caution('changes attributes')],
  kill: [
    safe((args) => args.has('-l', '-L')),
    dangerous('kills every process', (args) => args.all.slice(1).includes('-1') || args.all.at(-1) === '-1'),
    dangerous('kills the first process', (args) => args.operands.includes('1')),
    caution('ends processes'),
  ],
  killall5: powerTool,
  shutdown: powerTool,
  reboot: powerTool,
  halt: powerTool,
  poweroff: powerTool,
  kexec: powerTool,
  init: powerTool,
  telinit: powerTool,
  userdel: accountTool,
  deluser: accountTool,
  groupdel: accountTool,
  delgroup: accountTool,
  fdisk: diskTool,
  sfdisk: diskTool,
  gdisk: diskTool,
  sgdisk: diskTool,
  parted: diskTool,
  wipefs: diskTool,
  blkdiscard: diskTool,
  mkswap: diskTool,
  hdparm: diskTool,
  mdadm: diskTool,
  cryptsetup: diskTool,
  lvremove: diskTool,
  vgremove: diskTool,
  pvremove: diskTool,
  zfs: [
    safe(firstIs('list', 'get')),
    dangerous('destroys file systems', firstIs('destroy', 'rollback')),
    caution('works with file systems'),
  ],
  zpool: [
    safe(firstIs('list', 'status', 'iostat')),
    dangerous('destroys pools', firstIs('destroy', 'labelclear')),
    caution('works with pools'),
  ],
  btrfs: [dangerous('deletes file systems', matches(/\bdelete\b/)), caution('works with file systems')],
  mount: [
    safe((args) => args.all.length === 0 || (args.all.length === 1 && args.has('-l'))),
    caution('mounts file systems'),
  ],
  iptables: [
    safe((args) => args.has('-L', '-S', '--list') && !args.has('-F', '-X', '-P', '-D', '-A', '-I', '-Z')),
    dangerous('opens or locks the firewall', (args) =>
      args.has('-F', '-X', '-P', '--flush', '--policy', '--delete-chain'),
    ),
    caution('changes the firewall'),
  ],
  nft: [
    safe(firstIs('list')),
    dangerous('opens or locks the firewall', firstIs('flush', 'delete', 'destroy')),
    caution('changes the firewall'),
  ],
  ufw: [
    safe(firstIs('status')),
    dangerous('opens or locks the firewall', matches(/\b(?:disable|reset|delete)\b/)),
    caution('changes the firewall'),
  ],
  ip: [
    dangerous('takes the network down', matches(/\b(?:flush|del|delete|down)\b/)),
    safe((args) => !/\b(?:add|set|change|replace|append|exec|-b(?:atch)?|-force)\b/.test(args.line)),
    caution('changes the network'),
  ],
  ifconfig: [
    safe((args) => args.operands.length <= 1),
    dangerous('takes the network down', matches(/\bdown\b/)),
    caution('changes the network'),
  ],
  crontab: [
    safe((args) => args.all.length === 1 && args.has('-l')),
    dangerous('removes all timed jobs', (args) => args.has('-r')),
    caution('changes timed jobs'),
  ],
  systemctl: [
    dangerous(
      'stops or disables services',
      firstIs(
        'stop',
        'disable',
        'mask',
        'kill',
        'poweroff',
        'reboot',
        'halt',
        'isolate',
        'rescue',
        'emergency',
        'kexec',
        'suspend',
        'hibernate',
      ),
    ),
    safe(
      firstIs(
        'status',
        'is-active',
        'is-enabled',
        'is-failed',
        'list-units',
        'list-unit-files',
        'list-timers',
        'list-sockets',
        'show',
        'cat',
        'list-dependencies',
      ),
    ),
    caution('changes services'),
  ],
  service: [
    dangerous('stops services', (args) => second(args) === 'stop'),
    safe((args) => second(args) === 'status' || args.has('--status-all')),
    caution('changes services'),
  ],
  journalctl: [
    dangerous('deletes logs', matches(/--vacuum/)),
    caution('changes logs', matches(/--(?:rotate|flush|sync|relinquish|update|setup)/)),
    safe(),
  ],
  dmesg: [
    caution('clears or tunes the kernel log', (args) =>
      args.has('-C', '-c', '-D', '-E', '-n', '--clear', '--read-clear'),
    ),
    safe(),
  ],
  sort: [
    caution('writes files or starts programs', (args) =>
      args.has('-o', '--output', '--compress-program', '-T', '--temporary-directory'),
    ),
    safe(),
  ],
  uniq: [safe((args) => args.operands.length <= 1), caution('writes files')],
  date: [
    safe(
      (args) =>
        !args.has('-s', '--set') && args.operands.every((arg) => arg.startsWith('+') || args.has('-d', '-r')),
    ),
    caution('sets the clock'),
  ],
  hostname: [
    safe((args) => args.operands.length === 0 && !args.has('-F', '-b', '--file')),
    caution('renames the machine'),
  ],
  file: [caution('writes a magic file', (args) => args.has('-C', '--compile')), safe()],
  rg: [
    caution('starts programs', (args) => args.line.includes('--pre') || args.has('--hostname-bin', '-z')),
    safe(),
  ],
  top: [safe((args) => args.has('-b')), caution('does not end by itself')],
  sed: [
    dangerous('rewrites system files', (args) => args.has('-i', '--in-place') && touchesSystem(args)),
    caution('rewrites files', (args) => args.has('-i', '--in-place', '-f', '--file', '-s')),
    safe((args) =>
      /^(?:\d*(?:,(?:\d+|\$))?[pdq]|\$[pd]|s([/|#,])[^/|#,\n]*\1[^/|#,\n]*\1[gip\d]*)$/i.test(first(args)),
    ),
    caution('its script may write files or start programs'),
  ],
  awk: [
    dangerous('starts programs', matches(/system\s*\(|\|\s*["']?(?:sh|bash)/)),
    safe(
      (args) =>
        !args.has('-f', '-i', '--file', '--include', '-l', '-E') &&
        !/[>|]|getline|close|@|printf?\s*.*>/.test(args.line),
    ),
    caution('its program may write files'),
  ],
  tar: [
    dangerous(
      'unpacks over the system or starts programs',
      matches(/--checkpoint-action|--to-command|--use-compress-program|-c\s*\/(?:\s|$)|--remove-files/),
    ),
    safe(archiveReader),
    caution('packs or unpacks files'),
  ],
  unzip: [safe((args) => args.has('-l', '-Z', '-t')), caution('unpacks files')],
  base64: [caution('decodes hidden data', (args) => args.has('-d', '-D', '--decode')), safe()],
  git: [
    dangerous(
      'rewrites or deletes what others have',
      (args) =>
        /(?:^|\s)push\s/.test(`${args.line} `) &&
        (args.has('-f', '-d', '--force', '--force-with-lease', '--mirror', '--delete', '--prune') ||
          args.operands.some((arg) => /^[+:]/.test(arg))),
    ),
    dangerous(
      'throws work away',
      (args) =>
        (/(?:^|\s)reset\s/.test(args.line) && args.has('--hard')) ||
        (/(?:^|\s)clean\s/.test(args.line) && args.has('-f', '--force')) ||
        firstIs('filter-branch', 'filter-repo')(args) ||
        /reflog expire|stash (?:drop|clear)|gc .*--prune/.test(args.line),
    ),
    caution(
      'its options can start programs',
      matches(
        /(?:^|\s)(?:-c\s|--exec-path|--config-env|--ext-diff|--textconv|--upload-pack|--receive-pack|--output|--open-files|-o\S)/,
      ),
    ),
    safe(
      firstIs(
        'status',
        'log',
        'diff',
        'show',
        'ls-files',
        'ls-tree',
        'rev-parse',
        'rev-list',
        'blame',
        'describe',
        'shortlog',
        'cat-file',
        'grep',
        'count-objects',
        'merge-base',
        'name-rev',
        'for-each-ref',
        'whatchanged',
      ),
    ),
    safe((args) => args.all.length === 1 && args.has('--version')),
    safe(
      (args) =>
        firstIs('branch', 'remote', 'tag')(args) &&
        args.operands.length === 1 &&
        !args.has('-d', '-D', '-m', '-M', '-f'),
    ),
    caution('changes a repository'),
  ],
  docker: containers,
  podman: containers,
  nerdctl: containers,
  'docker-compose': containers,
  kubectl: [
    dangerous(
      'deletes or empties parts of a cluster',
      matches(/(?:^|\s)(?:delete|drain|cordon|taint)(?:\s|$)/),
    ),
    dangerous(
      'replaces by force',
      (args) => firstIs('replace', 'apply')(args) && args.has('--force', '--prune'),
    ),
    caution('prints secrets', (args) => /\bsecrets?\b|--raw|\bconfig\b/.test(args.line)),
    safe(firstIs('get', 'describe', 'logs', 'version', 'top', 'explain', 'api-resources', 'cluster-info')),
    caution('changes a cluster'),
  ],
  helm: [
    safe(firstIs('list', 'ls', 'status', 'history', 'version')),
    dangerous('removes releases', firstIs('uninstall', 'delete', 'del', 'rollback')),
    caution('changes a cluster'),
  ],
  terraform: [
    dangerous('destroys infrastructure', matches(/destroy|-auto-approve|state rm/)),
    caution('changes infrastructure'),
  ],
  aws: [
    dangerous('deletes cloud resources', matches(/\b(?:rm|rb|delete\S*|terminate\S*)\b/)),
    caution('talks to a cloud'),
  ],
  gcloud: [dangerous('deletes cloud resources', matches(/\bdelete\b/)), caution('talks to a cloud')],
  az: [dangerous('deletes cloud resources', matches(/\b(?:delete|purge)\b/)), caution('talks to a cloud')],
  psql: sqlClient,
  mysql: sqlClient,
  mariadb: sqlClient,
  sqlite3: sqlClient,
  sqlcmd: sqlClient,
  dropdb: [dangerous('throws database data away')],
  dropuser: accountTool,
  mongo: [
    dangerous('throws database data away', matches(/drop|delete|remove/)),
    caution('talks to a database'),
  ],
  mongosh: [
    dangerous('throws database data away', matches(/drop|delete|remove/)),
    caution('talks to a database'),
  ],
  'redis-cli': [
    dangerous('throws database data away', matches(/flushall|flushdb|shutdown|config set/)),
    caution('talks to a database'),
  ],
  python: inlineCode,
  perl: inlineCode,
  ruby: inlineCode,
  node: inlineCode,
  php: inlineCode,
  deno: inlineCode,
  lua: inlineCode,
  curl: [
    dangerous('sends files away', (args) =>
      /(?:^|\s)(?:-t|-f|-d|--data\S*|--form|--upload-file)\S*\s*\S*@|--upload-file|(?:^|\s)-T/.test(
        args.all.join(' '),
      ),
    ),
    caution('uses the network'),
  ],
  wget: [dangerous('sends files away', matches(/--(?:post|body)-file/)), caution('uses the network')],
  nc: [
    dangerous('gives a shell to the network', (args) => args.has('-e', '-c', '--exec', '--sh-exec')),
    caution('uses the network'),
  ],
  ncat: [
    dangerous('gives a shell to the network', (args) => args.has('-e', '-c', '--exec', '--sh-exec')),
    caution('uses the network'),
  ],
  netcat: [
    dangerous('gives a shell to the network', (args) => args.has('-e', '-c', '--exec')),
    caution('uses the network'),
  ],
  socat: [dangerous('gives a shell to the network', matches(/exec:|system:/)), caution('uses the network')],
  ping: [
    safe((args) => args.has('-c') && !args.has('-f') && !args.dynamic),
    caution('uses the network or does not end by itself'),
  ],
  find: [
    dangerous('deletes what it finds', (args) => args.all.includes('-delete')),
    caution('writes files', (args) => args.all.some((arg) => /^-f(?:print|ls)/.test(arg))),
    safe(),
  ],
  fd: [caution('starts programs', (args) => args.has('-x', '-X', '--exec', '--exec-batch')), safe()],
  npm: [
    safe(firstIs('ls', 'list', 'view', 'outdated', 'root', 'prefix')),
    caution('installs or runs packages'),
  ],
  passwd: [
    dangerous('removes or locks a password', (args) => args.has('-d', '-l', '--delete', '--lock')),
    caution('changes a password'),
  ],
  setenforce: [dangerous('switches protection off')],
  sysctl: [
    safe((args) => !args.has('-w', '-p', '--write', '--load', '--system') && !args.line.includes('=')),
    dangerous('changes the kernel'),
  ],
  insmod: [dangerous('changes the kernel')],
  rmmod: [dangerous('changes the kernel')],
  modprobe: [dangerous('changes the kernel')],
  history: [dangerous('hides what was done', (args) => args.has('-c', '-w', '-d')), safe()],
  apt: [
    safe(firstIs('list', 'show', 'search', 'policy')),
    dangerous('removes software', firstIs('remove', 'purge', 'autoremove')),
    caution('changes software'),
  ],
  'apt-get': [
    dangerous('removes software', firstIs('remove', 'purge', 'autoremove')),
    caution('changes software'),
  ],
  dpkg: [
    safe((args) => args.has('-l', '-L', '-s', '-S', '--list')),
    dangerous('removes software', (args) => args.has('-r', '-P', '--purge', '--remove')),
    caution('changes software'),
  ],
  rpm: [
    safe((args) => args.has('-q') && !args.has('-e')),
    dangerous('removes software', (args) => args.has('-e', '--erase')),
    caution('changes software'),
  ],
  printf: [caution('sets a variable', (args) => args.all[0]?.startsWith('-v') === true), safe()],
  hash: [caution('gives commands another meaning', (args) => args.has('-p')), safe()],
  tree: [caution('writes files', (args) => args.has('-o', '-R')), safe()],
  shuf: [caution('writes files', (args) => args.has('-o', '--output')), safe()],
  iconv: [caution('writes files', (args) => args.has('-o', '--output')), safe()],
  ss: [dangerous('closes connections of others', (args) => args.has('-K', '--kill')), safe()],
  env: [caution('prints the environment, which may hold secrets')],
  printenv: [caution('prints the environment, which may hold secrets')],
};

/** Other names of the programs above. */
export const aliases: Record<string, string> = {
  gawk: 'awk',
  mawk: 'awk',
  nawk: 'awk',
  gsed: 'sed',
  ip6tables: 'iptables',
  gtar: 'tar',
  bsdtar: 'tar',
  'apt-cache': 'apt',
  grm: 'rm',
  gdd: 'dd',
  python2: 'python',
  python3: 'python',
  pypy: 'python',
  nodejs: 'node',
  bun: 'node',
  luajit: 'lua',
  crictl: 'docker',
  oc: 'kubectl',
  k: 'kubectl',
  tofu: 'terraform',
  ripgrep: 'rg',
  fdfind: 'fd',
  batcat: 'cat',
  bat: 'cat',
  gpasswd: 'passwd',
  mysqladmin: 'mysql',
  swapoff: 'mkswap',
};

/** Programs that bring data from elsewhere or make hidden data readable: their output is never to be run. */
export const sources = new Set(
  `curl wget fetch aria2c lynx ftp tftp scp nc ncat netcat socat base64 base32 basenc xxd openssl gunzip zcat bzcat xzcat
  uudecode rev tr gpg http https iwr irm invoke-webrequest invoke-restmethod certutil bitsadmin`.split(/\s+/),
);

/** Those of them that bring a file which a later command may run. */
export const downloads = new Set(
  'curl wget fetch aria2c scp ftp tftp iwr irm invoke-webrequest invoke-restmethod certutil bitsadmin'.split(
    ' ',
  ),
);

/** Variables that may stand before a command without changing what it does. */
export const harmlessVariable =
  /^(?:LC_\w+|LANG|LANGUAGE|TZ|TERM|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|CLICOLOR)$/;
