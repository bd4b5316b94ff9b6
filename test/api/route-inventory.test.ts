/** The list of all routes: in the documentation, on the command line, and compared with what a server says. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createRoutes } from '../../api/routes/index.ts';
import { addRouteCommands } from '../../cli/commands/routes.ts';
import type { OpenApiDocument } from '../../contracts/openapi.ts';
import {
  compareRoutes,
  parseRouteReference,
  renderRouteReference,
  routesOf,
} from '../../contracts/route-inventory.ts';
import { startTestServer, type TestServer } from '../support/http.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = join(root, 'docs/reference/routes.md');

let server: TestServer;
let document: OpenApiDocument;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'route-inventory-'));
  // No handler is called: what they work on is not needed.
  server = await startTestServer({ routes: createRoutes({} as never) });
  document = (await (await server.fetch('/openapi.json')).json()) as OpenApiDocument;
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

it('docs/reference/routes.md lists every route', async () => {
  await expect(renderRouteReference(routesOf(document))).toMatchFileSnapshot(page);
});

it('the page can be read back, whatever stands in a summary', () => {
  const routes = [
    { method: 'GET', path: '/v1/x/{id}', summary: 'Read `x` | or not' },
    { method: 'POST', path: '/x', summary: 'Make one' },
  ];
  expect(parseRouteReference(renderRouteReference(routes))).toEqual(routes);
});

it('a comparison names what is on one side only, or says something else', () => {
  const route = (path: string, summary = 'x') => ({ method: 'GET', path, summary });
  expect(
    compareRoutes([route('/a'), route('/b'), route('/c')], [route('/b'), route('/c', 'y'), route('/d')]),
  ).toEqual([
    { kind: 'described differently', route: 'GET /c' },
    { kind: 'undocumented', route: 'GET /d' },
    { kind: 'missing', route: 'GET /a' },
  ]);
});

describe('the command line', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('lists paths, and with --include-methods each of their methods', async () => {
    const paths = await run('routes', '--url', server.url());
    expect(paths.trim().split('\n')).toEqual([...new Set(routesOf(document).map(({ path }) => path))]);
    const methods = await run('routes', '--include-methods', '--url', `${server.url()}/`);
    expect(
      methods
        .trim()
        .split('\n')
        .map((line) => line.split(/ +/)),
    ).toEqual(routesOf(document).map(({ method, path }) => [method, path]));
  });

  it('check-contract agrees with the documentation of the server, and tells what differs', async () => {
    const text = renderRouteReference(routesOf(document));
    const good = join(folder, 'routes.md');
    await writeFile(good, text);
    expect(await run('check-contract', '--url', server.url(), '--docs', good)).toBe(
      `${routesOf(document).length} routes, all of them as documented.\n`,
    );
    const bad = join(folder, 'bad.md');
    await writeFile(bad, text.replace('| `GET /livez`', '| `GET /not-there`'));
    const written = record();
    await expect(parse('check-contract', '--url', server.url(), '--docs', bad)).rejects.toThrow(
      '2 routes differ',
    );
    expect(written()).toBe('undocumented: GET /livez\nmissing: GET /not-there\n');
  });

  it('says what is wrong where there is no server, no document, or no page', async () => {
    await expect(parse('routes', '--url', 'http://127.0.0.1:9')).rejects.toThrow(
      'http://127.0.0.1:9 cannot be reached',
    );
    await expect(parse('routes', '--url', `${server.url()}/nowhere`)).rejects.toThrow('answered 404');
    const lost = parse('check-contract', '--docs', join(folder, 'none.md'));
    await expect(lost).rejects.toMatchObject({ exitCode: 2, message: expect.stringContaining('--docs') });
    const empty = join(folder, 'empty.md');
    await writeFile(empty, '# Routes\n');
    await expect(parse('check-contract', '--docs', empty)).rejects.toThrow('lists no routes');
  });

  it('has both as commands of the program', async () => {
    const child = spawn(process.execPath, [join(root, 'bin/steelthread.js'), '--help'], { cwd: folder });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    await once(child, 'close');
    expect(out).toMatch(/^ {2}routes \[options\]/m);
    expect(out).toMatch(/^ {2}check-contract \[options\]/m);
  });

  const parse = async (...args: string[]): Promise<void> => {
    const program = new Command('steelthread').exitOverride();
    addRouteCommands(program);
    await program.parseAsync(args, { from: 'user' });
  };

  function record(): () => string {
    let text = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    return () => text;
  }

  async function run(...args: string[]): Promise<string> {
    const written = record();
    await parse(...args);
    vi.restoreAllMocks();
    return written();
  }
});
