import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { z } from 'zod';
import { loadConfig } from '../../config.ts';
import {
  compareRoutes,
  parseRouteReference,
  type RouteEntry,
  routesOf,
} from '../../contracts/route-inventory.ts';
import { apiAddressOf } from '../api-address.ts';
import { printable } from '../demo/printable.ts';
import { CommandError, exitCodes } from '../exit-codes.ts';

const urlOption = [
  '--url <url>',
  'base URL of the API (default: PUBLIC_URL, else the first address of LISTEN)',
] as const;
/** Longest wait for the server's document, milliseconds. */
const FETCH_TIMEOUT_MS = 10_000;

const documentSchema = z.looseObject({
  openapi: z.string(),
  paths: z.record(z.string(), z.record(z.string(), z.looseObject({ summary: z.string().optional() }))),
});

export function addRouteCommands(program: Command): void {
  program
    .command('routes')
    .description('List the paths that a running API answers')
    .option(...urlOption)
    .option('--include-methods', 'a line for each method of a path')
    .action(listRoutes);
  program
    .command('check-contract')
    .description('Compare the documented routes with those of a running API')
    .option(...urlOption)
    .option('--docs <file>', 'page that lists the routes (default: docs/reference/routes.md)')
    .addHelpText('after', '\nEnds with 1 when they differ; each line says how.')
    .action(checkContract);
}

async function listRoutes(options: { url?: string; includeMethods?: boolean }): Promise<void> {
  const routes = await readServed(options.url);
  const lines = options.includeMethods
    ? routes.map(({ method, path }) => `${method.padEnd(6)} ${path}`)
    : [...new Set(routes.map(({ path }) => path))];
  for (const line of lines) process.stdout.write(`${printable(line)}\n`);
}

async function checkContract(options: { url?: string; docs?: string }): Promise<void> {
  const documented = readDocumented(options.docs);
  const served = await readServed(options.url);
  const differences = compareRoutes(documented, served);
  for (const { kind, route } of differences) process.stdout.write(`${kind}: ${printable(route)}\n`);
  if (differences.length > 0) {
    const count = differences.length === 1 ? 'one route differs' : `${differences.length} routes differ`;
    throw new CommandError(`Documentation and server do not agree: ${count}.`);
  }
  process.stdout.write(`${served.length} routes, all of them as documented.\n`);
}

async function readServed(given: string | undefined): Promise<RouteEntry[]> {
  const url = (given ?? apiAddressOf(loadConfig('cli'))).replace(/\/+$/, '');
  const reply = await fetch(`${url}/openapi.json`, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) }).catch(
    (cause: unknown) => {
      throw new CommandError(`${url} cannot be reached`, { cause });
    },
  );
  const document = documentSchema.safeParse(await reply.json().catch(() => undefined));
  if (!reply.ok || !document.success) {
    throw new CommandError(`${url}/openapi.json answered ${reply.status} and no OpenAPI document`);
  }
  return routesOf(document.data);
}

function readDocumented(given: string | undefined): RouteEntry[] {
  const path = given ?? pageOfThisProgram();
  let page: string;
  try {
    page = readFileSync(path, 'utf8');
  } catch (cause) {
    const message = `${path} cannot be read: give --docs`;
    throw new CommandError(message, { cause, exitCode: exitCodes.usage });
  }
  const entries = parseRouteReference(page);
  if (entries.length === 0) throw new CommandError(`${path} lists no routes`, { exitCode: exitCodes.usage });
  return entries;
}

const pageOfThisProgram = (): string =>
  fileURLToPath(new URL('../../docs/reference/routes.md', import.meta.url));
