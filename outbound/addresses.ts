/**
 * What kind of address an IP address is. Only what is certainly a public unicast address counts as public: the ranges of
 * the IANA special-purpose registries (RFC 6890), which ipaddr.js knows, do not.
 */
import ipaddr from 'ipaddr.js';

export type AddressClass =
  | 'public'
  | 'unspecified'
  | 'loopback'
  | 'private'
  | 'carrier-grade NAT'
  | 'link-local'
  | 'unique local'
  | 'multicast'
  | 'broadcast'
  | 'reserved'
  /** IPv6 that stands for an IPv4 address: mapped, compatible, NAT64, 6to4, Teredo, ISATAP. */
  | 'translated';

export type IpAddress = ipaddr.IPv4 | ipaddr.IPv6;

export interface Classified {
  address: IpAddress;
  class: AddressClass;
  /** The IPv4 address that a translated one leads to. */
  embedded?: ipaddr.IPv4;
}

/** Global unicast; everything else of IPv6 is special or not handed out. */
const ipv6GlobalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');
/** IPv6 prefixes whose last four bytes are an IPv4 address: compatible, mapped, RFC 2765, NAT64 (RFC 6052, RFC 8215). */
const ipv4InLastBytes = ['::/96', '::ffff:0:0/96', '::ffff:0:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48'].map(
  (range) => ipaddr.IPv6.parseCIDR(range),
);
const sixToFour = ipaddr.IPv6.parseCIDR('2002::/16');
const teredo = ipaddr.IPv6.parseCIDR('2001::/32');

const ipv4Classes: Record<string, AddressClass> = {
  unicast: 'public',
  unspecified: 'unspecified',
  broadcast: 'broadcast',
  multicast: 'multicast',
  linkLocal: 'link-local',
  loopback: 'loopback',
  carrierGradeNat: 'carrier-grade NAT',
  private: 'private',
};

const ipv6Classes: Record<string, AddressClass> = {
  unicast: 'public',
  unspecified: 'unspecified',
  loopback: 'loopback',
  linkLocal: 'link-local',
  multicast: 'multicast',
  uniqueLocal: 'unique local',
};

/** Public by its number, but answered by the host of Azure's machines: it serves them their settings and secrets. */
const cloudServices: ReadonlySet<string> = new Set(['168.63.129.16']);

/** @param text an address in canonical form, as resolvers and `URL` give it. @throws when it is none */
export function classifyAddress(text: string): Classified {
  const address = ipaddr.parse(text);
  return isIpv4(address) ? { address, class: classOfIpv4(address) } : classifyIpv6(address);
}

export function classOfIpv4(address: ipaddr.IPv4): AddressClass {
  if (cloudServices.has(address.toString())) return 'reserved';
  return ipv4Classes[address.range()] ?? 'reserved';
}

function classifyIpv6(address: ipaddr.IPv6): Classified {
  const bytes = address.toByteArray();
  const named = ipv6Classes[address.range()] ?? 'reserved';
  if (named === 'unspecified' || named === 'loopback') return { address, class: named };
  const embedded = embeddedIpv4(address, bytes);
  if (embedded !== undefined) return { address, class: 'translated', embedded };
  return { address, class: named === 'public' && !address.match(ipv6GlobalUnicast) ? 'reserved' : named };
}

function embeddedIpv4(address: ipaddr.IPv6, bytes: number[]): ipaddr.IPv4 | undefined {
  if (ipv4InLastBytes.some((range) => address.match(range))) return new ipaddr.IPv4(bytes.slice(12));
  if (address.match(sixToFour)) return new ipaddr.IPv4(bytes.slice(2, 6));
  // The client's address is stored with its bits inverted (RFC 4380).
  if (address.match(teredo)) return new ipaddr.IPv4(bytes.slice(12).map((byte) => byte ^ 0xff));
  if (isIsatap(bytes)) return new ipaddr.IPv4(bytes.slice(12));
  return undefined;
}

/** Interface id 0000:5efe or 0200:5efe before an IPv4 address (RFC 5214). */
const isIsatap = (bytes: number[]): boolean =>
  (bytes[8] === 0x00 || bytes[8] === 0x02) && bytes[9] === 0x00 && bytes[10] === 0x5e && bytes[11] === 0xfe;

export const isIpv4 = (address: IpAddress): address is ipaddr.IPv4 => address.kind() === 'ipv4';
