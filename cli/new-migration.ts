/** `steelthread migrate new`: the file of a migration and its two lines in `migrations/index.ts`. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandError, exitCodes } from './exit-codes.ts';

const NUMBER_DIGITS = 4;

/**
 * @param name verb and noun in snake case
 * @returns the files that were written
 * @throws CommandError for a name that is none, and outside of a checkout
 */
export function createMigration(
  name: string,
  folder = fileURLToPath(new URL('../migrations', import.meta.url)),
): string[] {
  if (!/^[a-z]+(_[a-z0-9]+)+$/.test(name)) {
    const message = `"${name}" is no name for a migration: give a verb and a noun, such as add_task_labels`;
    throw new CommandError(message, { exitCode: exitCodes.usage });
  }
  const index = join(folder, 'index.ts');
  if (!existsSync(index)) throw new CommandError('Migrations are added in a checkout of the sources.');
  const newest = Math.max(0, ...readdirSync(folder).map((file) => Number(/^(\d{4})_/.exec(file)?.[1] ?? 0)));
  const full = `${String(newest + 1).padStart(NUMBER_DIGITS, '0')}_${name}`;
  const constant = name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  const source = readFileSync(index, 'utf8');
  if (new RegExp(`\\b${constant}\\b`).test(source)) {
    throw new CommandError(`There is a migration ${constant} already; choose another name.`);
  }
  const file = join(folder, `${full}.ts`);
  writeFileSync(file, renderMigration(full, constant), { flag: 'wx' });
  writeFileSync(
    index,
    source
      .replace(/^import type/m, `import { ${constant} } from './${full}.ts';\nimport type`)
      .replace(/^\];$/m, `  ${constant},\n];`),
  );
  return [file, index];
}

function renderMigration(full: string, constant: string): string {
  return `import type { Migration } from './migration.ts';

export const ${constant}: Migration = {
  name: '${full}',
  up: \`
  \`,
  down: \`
  \`,
};
`;
}
