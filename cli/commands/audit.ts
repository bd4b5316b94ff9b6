import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { createDatabase, type Db } from '../../db/database.ts';
import { exportAudit } from '../../domain/audit/export.ts';
import { verifySeals } from '../../domain/audit/verify.ts';
import { type ExportVerdict, verifyExport } from '../../domain/audit/verify-export.ts';
import { withDatabaseFailure } from '../database-failure.ts';
import { findDatabaseUrl } from '../database-url.ts';
import { CommandError } from '../exit-codes.ts';

export function addAuditCommand(program: Command): void {
  const audit = program.command('audit').description('Look after the audit trail');
  audit
    .command('verify')
    .description('Recompute every seal of the audit trail from its rows (reads DATABASE_URL, or an export)')
    .option(
      '--last-hash <hash>',
      'hash of a seal as you noted it earlier: tells when seals were cut off since',
    )
    .option('--file <path>', 'check this export instead of the database; - reads standard input')
    .action(({ lastHash, file }: { lastHash?: string; file?: string }) =>
      file === undefined ? withDatabaseFailure(() => verifyDatabase(lastHash)) : verifyFile(file, lastHash),
    );
  audit
    .command('export')
    .description(
      'Write the audit trail to standard output as lines of JSON with their seals (reads DATABASE_URL)',
    )
    .option('--after-seal <number>', 'only rows of later seals, and unsealed ones', parseSealNo, 0)
    .option('--from <time>', 'only rows from this time on (ISO 8601)', parseTime)
    .option('--to <time>', 'only rows before this time (ISO 8601)', parseTime)
    .action((options: { afterSeal: number; from?: Date; to?: Date }) =>
      withDatabaseFailure(() => writeExport(options)),
    );
}

/** Reads the database and not the API: the server is what is being checked. */
async function withAuditDatabase(work: (db: Db) => Promise<void>): Promise<void> {
  const db = createDatabase({ url: findDatabaseUrl(), poolMax: 1, applicationName: 'steelthread-audit' });
  try {
    await work(db);
  } finally {
    await db.destroy();
  }
}

const verifyDatabase = (lastHash: string | undefined): Promise<void> =>
  withAuditDatabase(async (db) => {
    const verdict = await verifySeals(db, lastHash);
    if (verdict.firstBad !== undefined) {
      const { sealNo, reason } = verdict.firstBad;
      throw new CommandError(
        `Seal ${sealNo} does not hold (${reason}). Before it, ${verdict.seals} seals are right.`,
      );
    }
    if (!verdict.isNotedFound) {
      throw new CommandError(`No seal has the hash ${lastHash}: seals that once were there are gone.`);
    }
    process.stdout.write(
      `${verdict.seals} seals over ${verdict.rows} rows hold. Newest: ${verdict.lastHash}\n`,
    );
  });

async function verifyFile(path: string, lastHash: string | undefined): Promise<void> {
  const input = path === '-' ? process.stdin : createReadStream(path);
  let verdict: ExportVerdict;
  try {
    verdict = await verifyExport(createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }), lastHash);
  } catch (error) {
    throw new CommandError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  if (verdict.firstBad !== undefined) {
    const { line, sealNo, reason } = verdict.firstBad;
    const place = sealNo === null ? `Line ${line}` : `Seal ${sealNo} (up to line ${line})`;
    throw new CommandError(
      `${place} does not hold (${reason}). Before it, ${verdict.seals} seals are right.`,
    );
  }
  if (!verdict.isNotedFound) {
    throw new CommandError(`Neither a seal nor what the export starts from has the hash ${lastHash}.`);
  }
  const unsealed = verdict.unsealedRows === 1 ? '1 row is' : `${verdict.unsealedRows} rows are`;
  process.stdout.write(
    `${verdict.seals} seals over ${verdict.rows} rows hold, ${unsealed} not sealed yet. ` +
      `Starts from: ${verdict.firstHash}. Newest: ${verdict.lastHash}\n`,
  );
}

const writeExport = (wish: { afterSeal: number; from?: Date; to?: Date }): Promise<void> =>
  withAuditDatabase((db) => pipeline(Readable.from(exportAudit(db, wish)), process.stdout, { end: false }));

function parseSealNo(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is a number from 0.');
  return Number(text);
}

function parseTime(text: string): Date {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new InvalidArgumentError('Write it as 2026-01-31T00:00:00Z.');
  return time;
}
