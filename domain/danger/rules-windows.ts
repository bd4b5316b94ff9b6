import type { Args, Rule } from './rules.ts';

/** What is known about PowerShell cmdlets and programs of Windows. Names are lower case. */

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
const matches = (pattern: RegExp) => (args: Args) => pattern.test(args.line);

/** PowerShell takes any unambiguous start of a parameter's name. */
const recurses = matches(/(?:^|\s)-(?:r|re|rec|recu|recur|recurs|recurse|fo|for|forc|force)(?::|\s|$)/);

const removal = [
  dangerous(
    'deletes whole trees or without asking',
    (args) => recurses(args) || /(?:^|\s)\/[sq]\b/.test(args.line),
  ),
  dangerous(
    'deletes a broad or system folder',
    matches(/(?:^|\s)["']?(?:[a-z]:\\?(?:\*|windows|users)?|\\|\/|~|\*|\$home|\$env:\w+)["']?\\?(?:\s|$)/),
  ),
  caution('deletes files'),
];
const machinePower = [dangerous('stops or restarts the machine')];
const diskChange = [dangerous('changes disks or file systems')];
const account = [dangerous('removes or locks accounts')];
const evaluate = [
  dangerous('runs text from a pipe as code', (args) => args.all.length === 0),
  dangerous(
    'runs text from elsewhere as code',
    matches(/download|webclient|iwr|irm|invoke-(?:web|rest)|curl|wget|http|frombase64|\$|\(\)/),
  ),
  caution('runs text as code'),
];

export const windowsReaders = new Set(
  `select-object select where-object where sort-object sort measure-object measure format-table ft format-list fl
  format-wide out-string out-host out-null write-output write-host echo test-path convertto-json convertto-csv
  convertto-html compare-object group-object group resolve-path split-path join-path select-string sls findstr
  dir ls gci cat gc type pwd gl gps ps gsv hostname whoami systeminfo tasklist ver vol tree more where.exe
  query quser cd chdir set-location sl rem cls`.split(/\s+/),
);

/** Cmdlets that read although their names say nothing, and those that start with Get- but are no readers. */
export const secretCmdlet = /^get-(?:credential|clipboard|secret\w*|aduser\w*password\w*|azkeyvault\w*)$/;

export const windowsRules: Record<string, readonly Rule[]> = {
  'remove-item': removal,
  ri: removal,
  rm: removal,
  del: removal,
  erase: removal,
  rd: removal,
  rmdir: removal,
  deltree: removal,
  'clear-content': [caution('empties files')],
  'format-volume': diskChange,
  format: diskChange,
  'clear-disk': diskChange,
  'initialize-disk': diskChange,
  'remove-partition': diskChange,
  'set-disk': diskChange,
  diskpart: diskChange,
  'stop-computer': machinePower,
  'restart-computer': machinePower,
  shutdown: machinePower,
  'invoke-expression': evaluate,
  iex: evaluate,
  'set-executionpolicy': [dangerous('switches protection off')],
  'set-mppreference': [dangerous('switches protection off')],
  'add-mppreference': [dangerous('switches protection off')],
  'set-netfirewallprofile': [dangerous('opens or locks the firewall')],
  'remove-netfirewallrule': [dangerous('opens or locks the firewall')],
  netsh: [
    dangerous(
      'opens or locks the firewall, or resets the network',
      matches(/reset|delete|state off|disable/),
    ),
    safe(matches(/\bshow\b/)),
    caution('changes the network'),
  ],
  'stop-service': [dangerous('stops services')],
  'remove-service': [dangerous('removes services')],
  'stop-process': [caution('ends processes')],
  taskkill: [caution('ends processes')],
  'remove-localuser': account,
  'disable-localuser': account,
  'remove-aduser': account,
  'disable-adaccount': account,
  'clear-eventlog': [dangerous('deletes logs')],
  'remove-eventlog': [dangerous('deletes logs')],
  wevtutil: [dangerous('deletes logs', matches(/^(?:cl|clear-log)\b/)), caution('works with logs')],
  'remove-vm': [dangerous('deletes machines')],
  reg: [
    dangerous('changes the registry', matches(/^(?:delete|import|restore)\b/)),
    safe(matches(/^query\b/)),
    caution('changes the registry'),
  ],
  regedit: [caution('changes the registry')],
  bcdedit: [safe((args) => args.all.length === 0), dangerous('changes how the machine starts')],
  vssadmin: [dangerous('deletes backups', matches(/delete|resize/)), caution('works with backups')],
  wbadmin: [dangerous('deletes backups', matches(/delete/)), caution('works with backups')],
  cipher: [dangerous('destroys data beyond recovery', matches(/\/w/)), caution('encrypts files')],
  takeown: [dangerous('takes over files')],
  icacls: [dangerous('opens files to everybody', matches(/everyone|\/t\b/)), caution('changes permissions')],
  net: [
    dangerous('removes accounts or stops services', matches(/\/delete|^stop\b|\/active:no/)),
    caution('changes accounts or services'),
  ],
  sc: [
    dangerous('stops or deletes services', matches(/^(?:\\\\\S+ )?(?:stop|delete|config)\b/)),
    safe(matches(/^query/)),
    caution('changes services'),
  ],
  schtasks: [
    dangerous('removes timed jobs', matches(/\/delete/)),
    safe(matches(/\/query/)),
    caution('changes timed jobs'),
  ],
  wmic: [
    dangerous('deletes or starts things', matches(/delete|call|terminate/)),
    caution('queries the machine'),
  ],
  certutil: [
    dangerous('brings or decodes files', matches(/-urlcache|-decode/)),
    caution('works with certificates'),
  ],
  bitsadmin: [dangerous('brings files')],
  mshta: [dangerous('runs scripts from elsewhere')],
  regsvr32: [dangerous('runs scripts from elsewhere', matches(/https?:/)), caution('registers libraries')],
  rundll32: [dangerous('runs library code')],
  ipconfig: [caution('changes the network', matches(/\/(?:release|renew|flushdns|registerdns)/)), safe()],
  'test-connection': [caution('uses the network')],
};
