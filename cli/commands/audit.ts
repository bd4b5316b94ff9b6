import type { Command } from 'commander';
import { loadConfig } from '../../config.ts';
import { createDatabase } from '../../db/database.ts';
import { verifySeals } from '../../domain/audit/verify.ts';
import { withDatabaseFailure } from '../database-failure.ts';
import { CommandError } from '../exit-codes.ts';

export function addAuditCommand(program: Command): void {
  const audit = program.command('audit').description('Look after the audit trail');
  audit
    .command('verify')
    .description('Recompute every seal of the audit trail from its rows (reads DATABASE_URL)')
    .option(
      '--last-hash <hash>',
      'hash of a seal as you noted it earlier: tells when seals were cut off since',
    )
    .action((options: { lastHash?: string }) => withDatabaseFailure(() => verify(options)));
}

/** Reads the database and not the API: the server is what is being checked. */
async function verify({ lastHash }: { lastHash?: string }): Promise<void> {
  const config = loadConfig('migrate');
  const db = createDatabase({ url: config.databaseUrl, poolMax: 1, applicationName: 'steelthread-audit' });
  try {
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
  } finally {
    await db.destroy();
  }
}
