/** Requests that offer to speak another protocol than HTTP/1.1. */
import type { IncomingMessage } from 'node:http';

/** Node hands over every request that offers another protocol, as some clients do with each of them (`h2c`). */
export const isWebSocketWish = ({ headers }: IncomingMessage): boolean =>
  listOf(headers.upgrade).some((protocol) => protocol.toLowerCase() === 'websocket');

const listOf = (header = ''): string[] => header.split(',').map((entry) => entry.trim());

/** The head of a request as if it offered no other protocol: that is the client's to make and ours to leave out (RFC 9110 section 7.8). */
export function headWithoutOffer({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2);
    const key = name.toLowerCase();
    if (key === 'upgrade' || key === 'http2-settings') continue;
    const kept = key === 'connection' ? listOf(value).filter(isNoOffer).join(', ') : value;
    if (key !== 'connection' || kept !== '') lines.push(`${name}: ${kept}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

const isNoOffer = (option: string): boolean => !/^(upgrade|http2-settings)$/i.test(option);
