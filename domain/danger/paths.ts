/** Which files and folders are dear. All tests work on the text of an argument, not on a file system. */

/** Folders whose change can break or take over a machine. */
const systemRoots = [
  'bin',
  'boot',
  'dev',
  'etc',
  'lib',
  'lib32',
  'lib64',
  'libx32',
  'proc',
  'root',
  'sbin',
  'sys',
  'usr',
  'run',
  'system',
  'library',
  'applications',
  'private/etc',
];

/** Folders that hold everything of a kind: to delete one whole is broad, a file deep inside is not. */
const sharedRoots = [
  'home',
  'users',
  'var',
  'opt',
  'srv',
  'mnt',
  'media',
  'data',
  'tmp',
  'volumes',
  'nix',
  'snap',
];

/** Devices that are written without harm. */
const harmlessDevices = new Set([
  '/dev/null',
  '/dev/stdout',
  '/dev/stderr',
  '/dev/tty',
  '/dev/zero',
  '/dev/full',
  'nul',
  '$null',
]);

const secretPath =
  /(?:^|[/\\])(?:shadow|gshadow|sudoers|id_(?:rsa|dsa|ecdsa|ed25519)|\.env(?:\..*)?|\.netrc|\.pgpass|\.npmrc|credentials|\.git-credentials|\.ssh|\.aws|\.gnupg|\.kube|environ|authorized_keys|private[._-]?key.*|.*\.(?:pem|key|pfx|p12|kdbx))(?:$|[/\\])/i;

/** Normalises `//`, `/./` and `/x/..` without touching a file system. */
export function normalizePath(path: string): string {
  const absolute = path.startsWith('/');
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (part !== '..' || !absolute) parts.push(part);
  }
  return (absolute ? '/' : '') + parts.join('/') || '.';
}

/** Names that discard or show what is written to them. */
export function isHarmlessSink(path: string): boolean {
  return harmlessDevices.has(path.toLowerCase()) || /^\/dev\/fd\/\d+$/.test(path);
}

/** Inside a folder that belongs to the operating system, or a device. */
export function isSystemPath(path: string): boolean {
  if (isHarmlessSink(path)) return false;
  if (/^(?:[a-z]:)?\\+(?:windows|program files|boot)/i.test(path) || /^\\\\\.\\/.test(path)) return true;
  const normalized = normalizePath(path).toLowerCase();
  return systemRoots.some((root) => normalized === `/${root}` || normalized.startsWith(`/${root}/`));
}

/** A socket that bash opens by a file name. */
export function isNetworkPath(path: string): boolean {
  return /^\/dev\/(?:tcp|udp)\//.test(path);
}

/** So much that deleting or re-owning it is hardly ever meant: a root, a home, everything here, a whole system folder. */
export function isBroadTarget(path: string): boolean {
  if (/^[a-z]:(?:[\\/]*\*?|[\\/]+(?:windows|users|program files)[^\\/]*[\\/]?\*?)$/i.test(path)) return true;
  if (
    /^(?:~[\w-]*|\$home|\$\{home\}|%\w+%|\$env:\w+|\$pwd|\$\{pwd\})[\\/]*(?:\*|\.\*|\.)?[\\/]*$/i.test(path)
  )
    return true;
  const normalized = normalizePath(path).toLowerCase();
  if (/^(?:\.{1,2}\/)*(?:\.|\.\.|\*|\.\*|\.\[.*|\*\.\*|)$/.test(normalized)) return true;
  if (!normalized.startsWith('/')) return false;
  if (isSystemPath(normalized)) return true;
  const withoutGlob = normalized.replace(/\/\.?\*+$/, '') || '/';
  if (withoutGlob === '/') return true;
  // /home, /home/*, and /home/ann (a whole home) are broad; /home/ann/old is not.
  return sharedRoots.some(
    (root) => withoutGlob === `/${root}` || (/^(?:home|users)$/.test(root) && isChildOf(withoutGlob, root)),
  );
}

function isChildOf(path: string, root: string): boolean {
  return path.startsWith(`/${root}/`) && !path.slice(root.length + 2).includes('/');
}

/** Likely holds passwords or keys. */
export function isSecretPath(path: string): boolean {
  return secretPath.test(path.slice(0, 4096));
}
