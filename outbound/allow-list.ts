/** Which targets the operator has listed, from the words of WEBHOOK_URL_ALLOW or AGENT_URL_ALLOW. */
import ipaddr from 'ipaddr.js';
import type { IpAddress } from './addresses.ts';

export interface AllowList {
  /** The host name stands in the list, or ends in a `*.suffix` of it. */
  hasHost(hostname: string): boolean;
  /** The address lies in a network of the list. */
  hasAddress(address: IpAddress): boolean;
}

const HOST = /^(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/;

/**
 * @param entries host names (`hooks.example.com`, `*.example.com`: its sub-domains), addresses, networks (`10.0.0.0/8`)
 * @throws Error naming the entry that is none of them
 */
export function parseAllowList(entries: readonly string[]): AllowList {
  const networks: [IpAddress, number][] = [];
  const hosts = new Set<string>();
  const suffixes: string[] = [];
  for (const entry of entries) {
    const word = entry.trim().toLowerCase().replace(/\.$/, '');
    const network = readNetwork(word);
    if (network !== undefined) networks.push(network);
    else if (!HOST.test(word) || /^[\d.]+$/.test(word))
      throw new Error(`not a host name or network: ${entry}`);
    else if (word.startsWith('*.')) suffixes.push(word.slice(1));
    else hosts.add(word);
  }
  return {
    hasHost(hostname) {
      const name = hostname.toLowerCase().replace(/\.$/, '');
      return hosts.has(name) || suffixes.some((suffix) => name.endsWith(suffix));
    },
    hasAddress: (address) =>
      networks.some(
        ([network, bits]) => network.kind() === address.kind() && address.match(network as never, bits),
      ),
  };
}

function readNetwork(word: string): [IpAddress, number] | undefined {
  const bare = word.replace(/^\[(.*)\]$/, '$1');
  // Only full dotted spelling: `10.1/16` and the like mean different things to different readers.
  if (ipaddr.IPv4.isValidFourPartDecimal(bare) || ipaddr.IPv6.isValid(bare)) {
    const address = ipaddr.parse(bare);
    return [address, address.kind() === 'ipv4' ? 32 : 128];
  }
  const [base] = bare.split('/');
  if (base === undefined || !ipaddr.isValidCIDR(bare)) return undefined;
  if (!base.includes(':') && !ipaddr.IPv4.isValidFourPartDecimal(base)) return undefined;
  return ipaddr.parseCIDR(bare);
}
