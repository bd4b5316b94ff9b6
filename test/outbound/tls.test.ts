/** TLS: the certificate must be for the name of the URL, although the address is dialed. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createOutbound } from '../../outbound/outbound.ts';

const folder = mkdtempSync(join(tmpdir(), 'steelthread-tls-'));
const names: (string | false)[] = [];
let server: Server;
let port = 0;
let certificate = '';

beforeAll(async () => {
  const key = join(folder, 'key.pem');
  const cert = join(folder, 'cert.pem');
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1']
      .concat(['-subj', '/CN=hooks.example', '-addext', 'subjectAltName=DNS:hooks.example'])
      .concat(['-keyout', key, '-out', cert]),
    { stdio: 'ignore' },
  );
  certificate = readFileSync(cert, 'utf8');
  server = createServer({ key: readFileSync(key), cert: certificate }, (request, response) => {
    names.push((request.socket as TLSSocket & { servername?: string }).servername ?? false);
    response.end('taken');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

const ask = (host: string, tlsCa?: string) =>
  createOutbound({
    allow: [host, '127.0.0.0/8'],
    allowsPublic: false,
    listName: 'AGENT_URL_ALLOW',
    resolve: async () => ['127.0.0.1'],
    ...(tlsCa !== undefined && { tlsCa }),
  }).request({ url: `https://${host}:${port}/`, method: 'GET' });

it('keeps the name of the URL for SNI and the certificate', async () => {
  expect(await ask('hooks.example', certificate)).toMatchObject({ kind: 'answered', status: 200 });
  expect(names).toEqual(['hooks.example']);
});

it('sends nothing to a server whose certificate is for another name, or is not trusted', async () => {
  for (const answer of [await ask('other.example', certificate), await ask('hooks.example')])
    expect(answer).toMatchObject({ kind: 'failed', code: 'tls_failed', mayHaveArrived: false });
  expect(names).toHaveLength(1);
});
