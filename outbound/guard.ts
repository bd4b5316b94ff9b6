/**
 * Whether a URL, and the addresses its host name has, may be dialed.
 *
 *  A. What is not certainly a public address must be listed.
 *  B. A listed network allows every address in it. One that stands for an IPv4 address (NAT64, 6to4 …) also needs that
 *     address to be allowed: the translator would lead there.
 *  C. A listed host name allows addresses of an inner network, whichever its resolver names. It never allows link-local
 *     addresses (where clouds serve credentials), multicast, reserved or translated ones: these need B.
 *  D. One forbidden address forbids the host: it cannot be chosen by whoever controls the order of answers.
 */
import { type AddressClass, classifyAddress, classOfIpv4 } from './addresses.ts';
import type { AllowList } from './allow-list.ts';
import type { OutboundRefusal, RefusalCode } from './port.ts';

export interface Guard {
  allow: AllowList;
  /** May public addresses be dialed without being listed? */
  allowsPublic: boolean;
  /** Name of the variable that holds the list, for messages. */
  listName: string;
}

export interface Target {
  url: URL;
  /** Without brackets. */
  hostname: string;
  port: number;
  /** The host is an address, so there is nothing to resolve. */
  isAddress: boolean;
}

/** Below this, only 80 and 443 are ports that web servers listen on; the rest are mail, shells, file shares … */
const LOWEST_FREE_PORT = 1024;
const WEB_PORTS: ReadonlySet<number> = new Set([80, 443]);
/** Longest URL, characters. */
export const MAX_URL_LENGTH = 2_048;

const classesOfHosts: ReadonlySet<AddressClass> = new Set([
  'public',
  'private',
  'loopback',
  'carrier-grade NAT',
  'unique local',
]);

/** The target of a URL, or why it may not be asked. `URL` turns decimal, octal and hexadecimal addresses into dotted ones. */
export function readTarget(guard: Guard, text: string): Target | OutboundRefusal {
  const url = text.length <= MAX_URL_LENGTH && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) return refusal('url_invalid', 'the URL cannot be read');
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return refusal('url_invalid', 'only http and https URLs are asked');
  if (url.username !== '' || url.password !== '')
    return refusal('url_credentials', 'the URL holds a user name or a password');
  const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const isAddress = hostname !== url.hostname || /^\d+\.\d+\.\d+\.\d+$/.test(hostname);
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  const target = { url, hostname, port, isAddress };
  return (isAddress ? checkAddresses(guard, target, [hostname]) : checkName(guard, target)) ?? target;
}

/** Before anything is resolved. Names that mean this machine or its network are refused without asking a resolver. */
function checkName(guard: Guard, target: Target): OutboundRefusal | undefined {
  const { allow, listName } = guard;
  if (allow.hasHost(target.hostname)) return undefined;
  const name = target.hostname.toLowerCase().replace(/\.$/, '');
  if (name === 'localhost' || name.endsWith('.localhost'))
    return refusal('address_not_allowed', `${name} is this machine and not listed in ${listName}`);
  return checkPort(guard, target.port);
}

/** (A) to (D). @returns undefined when every one may be dialed */
export function checkAddresses(
  guard: Guard,
  target: Target,
  addresses: readonly string[],
): OutboundRefusal | undefined {
  const isListedHost = !target.isAddress && guard.allow.hasHost(target.hostname);
  for (const text of addresses) {
    const verdict = judge(guard, isListedHost, text);
    if (verdict.kind === 'forbidden')
      return refusal(
        'address_not_allowed',
        `${target.hostname} is ${verdict.what} address and not listed in ${guard.listName}`,
      );
    if (!verdict.isListed) {
      const refused = checkPort(guard, target.port);
      if (refused !== undefined) return refused;
    }
  }
  return undefined;
}

type Verdict = { kind: 'allowed'; isListed: boolean } | { kind: 'forbidden'; what: string };

function judge({ allow, allowsPublic }: Guard, isListedHost: boolean, text: string): Verdict {
  const { address, class: kind, embedded } = classifyAddress(text);
  if (allow.hasAddress(address)) {
    const leadsToForbidden =
      embedded !== undefined && !allow.hasAddress(embedded) && classOfIpv4(embedded) !== 'public';
    return leadsToForbidden ? forbidden('translated') : { kind: 'allowed', isListed: true }; // B
  }
  if (isListedHost && classesOfHosts.has(kind)) return { kind: 'allowed', isListed: true }; // C
  return kind === 'public' && allowsPublic ? { kind: 'allowed', isListed: false } : forbidden(kind); // A
}

function forbidden(kind: AddressClass): Verdict {
  return {
    kind: 'forbidden',
    what: `${/^[aeiou]/.test(kind) && kind !== 'unique local' ? 'an' : 'a'} ${kind}`,
  };
}

function checkPort({ listName }: Guard, port: number): OutboundRefusal | undefined {
  if (port >= LOWEST_FREE_PORT || WEB_PORTS.has(port)) return undefined;
  return refusal('port_not_allowed', `port ${port} is only asked on targets listed in ${listName}`);
}

export const refusal = (code: RefusalCode, message: string): OutboundRefusal => ({
  kind: 'refused',
  code,
  message,
});
