import { expect, it } from 'vitest';
import { networkOf, networkParts } from '../../domain/identity/network.ts';

it.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['::FFFF:C000:0207', '192.0.2.7'],
  ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:0:1::5', '2001:db8:0:1::/64'],
  ['2001:0DB8:0000:0001:ffff:ffff:ffff:ffff', '2001:db8:0:1::/64'],
  ['2001:db8:0:1::', '2001:db8:0:1::/64'],
  ['2001:db8:0:1::/64', '2001:db8:0:1::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
  ['1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7:8:9'],
  ['::1::2', '::1::2'],
  ['zz::1', 'zz::1'],
  [' 192.0.2.7 ', '192.0.2.7'],
  ['', 'unknown'],
  [null, 'unknown'],
])('%j is counted as %s', (address, network) => {
  expect(networkOf(address)).toBe(network);
  expect(networkOf(network)).toBe(network);
});

it('a network names its first address and its length', () => {
  expect(networkParts('2001:db8:0:1::/64')).toEqual({ address: '2001:db8:0:1::', prefixLength: 64 });
  expect(networkParts('192.0.2.7')).toEqual({ address: '192.0.2.7', prefixLength: 32 });
});

it('keeps little of what is no address', () => {
  expect(networkOf('x'.repeat(5_000))).toHaveLength(64);
});
