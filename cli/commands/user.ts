import type { Command } from 'commander';
import { createDatabase } from '../../db/database.ts';
import { rescueAccount } from '../../domain/identity/rescue.ts';
import { withDatabaseFailure } from '../database-failure.ts';
import { findDatabaseUrl } from '../database-url.ts';
import { CommandError } from '../exit-codes.ts';

interface Options {
  removeMfa?: true;
  revokeTokens?: true;
}

export function addUserCommand(program: Command): void {
  const user = program.command('user').description('Look after accounts when nobody can log in');
  user
    .command('reset-password <name>')
    .description('Give an account a new password, lift its lock and end its sessions (reads DATABASE_URL)')
    .option('--remove-mfa', 'take its second factor away as well')
    .option('--revoke-tokens', 'end its API tokens as well')
    .addHelpText(
      'after',
      `
Prints the new password alone on standard output. It must be changed after the next login. A disabled account stays
disabled. API processes may be running. Without DATABASE_URL the database of a running \`steelthread dev\` is used.`,
    )
    .action((name: string, options: Options) => withDatabaseFailure(() => resetPassword(name, options)));
}

async function resetPassword(name: string, { removeMfa, revokeTokens }: Options): Promise<void> {
  const db = createDatabase({ url: findDatabaseUrl(), poolMax: 2, applicationName: 'steelthread-user' });
  try {
    const wish = { name, removeMfa: removeMfa ?? false, revokeTokens: revokeTokens ?? false };
    const rescued = await rescueAccount(db, wish);
    if (!rescued) throw new CommandError(`No account has the name ${name}.`);
    const { username, role, isActive, generatedPassword } = rescued;
    const state = isActive ? '' : ' The account is disabled, and stays so.';
    process.stderr.write(
      `${username} (${role}) has a new password, to be changed after the next login.${state}\n`,
    );
    process.stdout.write(`${generatedPassword}\n`);
  } finally {
    await db.destroy();
  }
}
