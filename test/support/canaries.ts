/** Secrets that a test gives or is given, and the search for them where none may be. */
import { inspect } from 'node:util';
import type { Db } from '../../db/database.ts';

export interface Canaries {
  /** Remember a secret under a name; returns it. */
  keep(name: string, secret: string): string;
  /** Names of the secrets that stand in the text, plainly or in a usual encoding. */
  findIn(text: string): string[];
  names(): string[];
}

/** Shorter ones would be found by chance. */
const MIN_LENGTH = 12;

export function createCanaries(): Canaries {
  const forms = new Map<string, string[]>();
  return {
    keep(name, secret) {
      if (secret.length < MIN_LENGTH) throw new Error(`${name} is too short to be looked for`);
      const bytes = Buffer.from(secret, 'utf8');
      const variants = [
        secret,
        JSON.stringify(secret).slice(1, -1),
        encodeURIComponent(secret),
        bytes.toString('hex'),
        ...base64Forms(bytes),
      ];
      forms.set(name, [...new Set(variants)]);
      return secret;
    },
    findIn: (text) =>
      [...forms].filter(([, variants]) => variants.some((form) => text.includes(form))).map(([name]) => name),
    names: () => [...forms.keys()],
  };
}

/** What base64 of any text that holds these bytes must hold, whatever stands before and behind them. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]);
    const whole = padded.subarray(0, padded.length - (padded.length % 3));
    const text = whole.toString('base64').slice(before === 0 ? 0 : 4);
    return [text, text.replaceAll('+', '-').replaceAll('/', '_')];
  });
}

/** Every row of every table as text, by table. */
export async function dumpDatabase(db: Db): Promise<Map<string, string>> {
  const { rows: tables } = await db.raw<{ rows: { name: string }[] }>(
    `select quote_ident(table_schema) || '.' || quote_ident(table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema') order by 1`,
  );
  const dump = new Map<string, string>();
  for (const { name } of tables) {
    // Row text prints bytea as hex.
    const { rows } = await db.raw<{ rows: { line: string }[] }>(
      `select cast(t as text) as line from ${name} t`,
    );
    dump.set(name, rows.map(({ line }) => line).join('\n'));
  }
  return dump;
}

/** A logged fact with everything that hangs on it: errors with their causes and whatever libraries put on them. */
export const wholeText = (fact: unknown): string =>
  inspect(fact, {
    depth: Number.POSITIVE_INFINITY,
    maxStringLength: null,
    maxArrayLength: null,
    showHidden: true,
  });
