/** Which URLs and addresses may be dialed: a corpus of hostile spellings, and what listing them changes. */
import { describe, expect, it } from 'vitest';
import { classifyAddress } from '../../outbound/addresses.ts';
import { parseAllowList } from '../../outbound/allow-list.ts';
import { createOutbound } from '../../outbound/outbound.ts';
import { hostileUrls } from './hostile-urls.ts';

const guard = (allow: string[] = [], allowsPublic = true) =>
  createOutbound({ allow, allowsPublic, listName: 'WEBHOOK_URL_ALLOW' });

describe('addresses', () => {
  it.each([
    ['93.184.215.14', 'public'],
    ['1.1.1.1', 'public'],
    ['2606:4700:4700::1111', 'public'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.254', 'loopback'],
    ['10.0.0.1', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.255.255', 'private'],
    ['100.64.0.1', 'carrier-grade NAT'],
    ['100.127.255.255', 'carrier-grade NAT'],
    ['169.254.169.254', 'link-local'],
    ['224.0.0.1', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['255.255.255.255', 'broadcast'],
    ['192.0.0.8', 'reserved'],
    ['192.0.2.1', 'reserved'],
    ['192.88.99.1', 'reserved'],
    ['198.18.0.1', 'reserved'],
    ['198.51.100.1', 'reserved'],
    ['203.0.113.1', 'reserved'],
    ['240.0.0.1', 'reserved'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['fe80::1', 'link-local'],
    ['febf::1', 'link-local'],
    ['fc00::1', 'unique local'],
    ['fd00:ec2::254', 'unique local'],
    ['ff02::1', 'multicast'],
    ['fec0::1', 'reserved'],
    ['100::1', 'reserved'],
    ['2001:db8::1', 'reserved'],
    ['2001:2::1', 'reserved'],
    ['2001:10::1', 'reserved'],
    ['3fff::1', 'reserved'],
    ['4000::1', 'reserved'],
    ['5f00::1', 'reserved'],
    ['::127.0.0.1', 'translated'],
    ['::ffff:127.0.0.1', 'translated'],
    ['::ffff:8.8.8.8', 'translated'],
    ['::ffff:0:127.0.0.1', 'translated'],
    ['64:ff9b::127.0.0.1', 'translated'],
    ['64:ff9b:1::10.0.0.1', 'translated'],
    ['2002:7f00:1::', 'translated'],
    ['2001:0:4136:e378:8000:63bf:80ff:fffe', 'translated'],
    ['2a00:1450::5efe:127.0.0.1', 'translated'],
  ])('%s is %s', (text, expected) => {
    expect(classifyAddress(text).class).toBe(expected);
  });

  it('finds the IPv4 address behind a translated one', () => {
    expect(classifyAddress('2002:7f00:1::').embedded?.toString()).toBe('127.0.0.1');
    expect(classifyAddress('64:ff9b::a00:1').embedded?.toString()).toBe('10.0.0.1');
    expect(classifyAddress('2001:0:4136:e378:8000:63bf:80ff:fffe').embedded?.toString()).toBe('127.0.0.1');
  });
});

describe('hostile URLs', () => {
  it.each(hostileUrls(8080))('refuses %s without resolving anything', (url) => {
    expect(guard().inspect(url)).toMatchObject({ kind: 'refused' });
  });

  it('refuses credentials, other schemes and what is no URL', () => {
    expect(guard().inspect('https://user:secret@example.com/')).toMatchObject({ code: 'url_credentials' });
    for (const url of [
      'ftp://example.com/',
      'file:///etc/passwd',
      'gopher://example.com:70/',
      'x',
      '',
      '//example.com',
    ])
      expect(guard().inspect(url), url).toMatchObject({ code: 'url_invalid' });
    expect(guard().inspect(`https://example.com/${'a'.repeat(3_000)}`)).toMatchObject({
      code: 'url_invalid',
    });
  });

  it('refuses ports of other services, unless the host is listed', () => {
    for (const port of [22, 25, 587, 993])
      expect(guard().inspect(`http://example.com:${port}/`)).toMatchObject({ code: 'port_not_allowed' });
    for (const port of [80, 443, 8080])
      expect(guard().inspect(`http://example.com:${port}/`)).toBeUndefined();
    expect(guard().inspect('http://93.184.215.14:25/')).toMatchObject({ code: 'port_not_allowed' });
    expect(guard(['example.com']).inspect('http://example.com:25/')).toBeUndefined();
  });
});

describe('the list', () => {
  it('allows listed networks, whatever the spelling', () => {
    const listed = guard(['10.0.0.0/8', '127.0.0.1', '::1/128']);
    for (const url of ['http://10.1.2.3/', 'http://0x7f.1/', 'http://2130706433/', 'http://[::1]:9/'])
      expect(listed.inspect(url), url).toBeUndefined();
    expect(listed.inspect('http://127.0.0.2/')).toMatchObject({ code: 'address_not_allowed' });
    expect(listed.inspect('http://[::ffff:10.1.2.3]/')).toMatchObject({ code: 'address_not_allowed' });
  });

  it('lets a translated network lead only where the IPv4 address may be dialed', () => {
    const listed = guard(['64:ff9b::/96']);
    expect(listed.inspect('http://[64:ff9b::8.8.8.8]/')).toBeUndefined();
    expect(listed.inspect('http://[64:ff9b::127.0.0.1]/')).toMatchObject({ code: 'address_not_allowed' });
    expect(guard(['64:ff9b::/96', '10.0.0.0/8']).inspect('http://[64:ff9b::10.0.0.1]/')).toBeUndefined();
  });

  it('allows public addresses only where it is said', () => {
    const closed = guard(['93.184.215.0/24', 'agents.example.com'], false);
    expect(closed.inspect('http://1.1.1.1/')).toMatchObject({ code: 'address_not_allowed' });
    expect(closed.inspect('http://93.184.215.14/')).toBeUndefined();
    expect(closed.inspect('http://agents.example.com/')).toBeUndefined();
  });

  it('knows hosts by name, and sub-domains by a star', () => {
    const list = parseAllowList(['Hooks.Example.com', '*.internal', 'localhost']);
    for (const host of ['hooks.example.com', 'HOOKS.example.com.', 'a.internal', 'a.b.internal', 'localhost'])
      expect(list.hasHost(host), host).toBe(true);
    for (const host of [
      'example.com',
      'xhooks.example.com',
      'internal',
      'evilinternal',
      'hooks.example.com.evil.org',
    ])
      expect(list.hasHost(host), host).toBe(false);
  });

  it.each([
    '10.0.0.0/33',
    '10.1/16',
    '1.2.3',
    'http://example.com',
    'a b',
    '*',
    '10.0.0.256',
    'host/8',
    '2130706433',
  ])('cannot be read with %s in it', (entry) => {
    expect(() => guard([entry])).toThrow(`WEBHOOK_URL_ALLOW: not a host name or network: ${entry}`);
  });
});
