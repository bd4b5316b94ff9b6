/** What counts as one address where calls and failures are counted, and where addresses are banned. */

/** Groups of an IPv6 address that name its /64. */
const NETWORK_GROUPS = 4;
const IPV6_GROUPS = 8;
const NETWORK_SUFFIX = '/64';
/** Longest text that is kept of an address which is none. */
const MAX_ODD_ADDRESS_LENGTH = 64;

const dottedQuad = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/**
 * An IPv4 address stands for itself. Of an IPv6 address the /64 is meant, because one subscriber owns all of it:
 * `2001:db8:0:1::/64`. Every spelling gives the same text, an IPv4-mapped address that of its IPv4 address, and a network
 * is its own network. What is no address stays as it is; `unknown` where there is none.
 */
export function networkOf(address: string | null): string {
  const text = (address ?? '').trim().toLowerCase().replace(/%.*$/, ''); // without a zone
  if (text === '') return 'unknown';
  const groups = ipv6Groups(text.endsWith(NETWORK_SUFFIX) ? text.slice(0, -NETWORK_SUFFIX.length) : text);
  if (groups === undefined) return text.slice(0, MAX_ODD_ADDRESS_LENGTH);
  if (isMappedIpv4(groups)) return toDottedQuad(groups[6] ?? 0, groups[7] ?? 0);
  const head = groups.slice(0, NETWORK_GROUPS).map((group) => group.toString(16));
  return `${head.join(':')}::${NETWORK_SUFFIX}`;
}

/** The first address of a network, and how many leading bits are meant. */
export const networkParts = (network: string): { address: string; prefixLength: number } =>
  network.endsWith(NETWORK_SUFFIX)
    ? { address: network.slice(0, -NETWORK_SUFFIX.length), prefixLength: 64 }
    : { address: network, prefixLength: 32 };

/** ::ffff:0:0/96 (RFC 4291 section 2.5.5.2): how a dual-stack socket names IPv4 peers. */
const isMappedIpv4 = (groups: readonly number[]): boolean =>
  groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;

const toDottedQuad = (high: number, low: number): string =>
  [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');

/** The eight groups of an IPv6 address in any of its spellings; undefined when it is none. */
function ipv6Groups(text: string): number[] | undefined {
  const parts = text.split('::');
  if (!text.includes(':') || parts.length > 2) return undefined;
  const [head, tail] = parts.map(groupsOf);
  if (head === undefined || (parts.length === 2 && tail === undefined)) return undefined;
  if (tail === undefined) return head.length === IPV6_GROUPS ? head : undefined;
  const missing = IPV6_GROUPS - head.length - tail.length;
  return missing < 1 ? undefined : [...head, ...Array<number>(missing).fill(0), ...tail];
}

/** An IPv4 tail fills two groups. */
function groupsOf(text: string): number[] | undefined {
  const groups: number[] = [];
  for (const part of text === '' ? [] : text.split(':')) {
    const quad = dottedQuad.exec(part)?.slice(1).map(Number);
    if (quad !== undefined) {
      const [a = 0, b = 0, c = 0, d = 0] = quad;
      groups.push(a * 256 + b, c * 256 + d);
    } else if (/^[0-9a-f]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}
