/**
 * The act: the exact thing to run, and the digests that bind a decision to it.
 *
 * Both the server and the agent compute these digests, so this file is shared by both and depends on nothing
 * but zod and node:crypto. Source of the field list: docs/explanation/promises.md, P5 (approved = executed).
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';

/** Longest shell script or single argument, bytes of UTF-8 (Linux refuses one argument of 128 KiB or more). */
export const MAX_SCRIPT_BYTES = 120 * 1024;
/** Most arguments of an argv act. */
export const MAX_ARGV_ITEMS = 1024;
/** Longest standard input of an act, bytes before base64. */
export const MAX_STDIN_BYTES = 256 * 1024;
/** Most environment variables of an act. */
export const MAX_ENVIRONMENT_ENTRIES = 128;
/** Longest environment value, bytes of UTF-8. */
export const MAX_ENVIRONMENT_VALUE_BYTES = 32 * 1024;
/** Default output cap per stream, bytes. */
export const DEFAULT_OUTPUT_CAP_BYTES = 16 * 1024 * 1024;
/** Default time a command waits for an offline agent, milliseconds. */
export const DEFAULT_EXPIRY_MS = 24 * 60 * 60 * 1000;
/** Longest time a command may wait for an offline agent, milliseconds. */
export const MAX_EXPIRY_MS = 30 * 24 * 60 * 60 * 1000;
/** Version of the digest's field list. A new field means a new version. */
export const ACT_VERSION = 1;

const utf8Bytes = (text: string): number => Buffer.byteLength(text, 'utf8');

/** Text that can be passed to a process: no NUL, no lone surrogate (it would change on its way to bytes). */
const processText = (maxBytes: number) =>
  z
    .string()
    .refine((text) => !text.includes('\0'), 'must not contain a NUL character')
    .refine((text) => text.isWellFormed(), 'must be well-formed Unicode')
    .refine((text) => utf8Bytes(text) <= maxBytes, `must be at most ${maxBytes} bytes`);

/** Shells an agent may offer. `default` never appears in an act: it is resolved before the digest. */
export const shellNames = ['sh', 'bash', 'pwsh', 'powershell', 'cmd'] as const;
export const shellNameSchema = z.enum(shellNames);
export type ShellName = z.infer<typeof shellNameSchema>;

const sharedActFields = {
  /** Standard input as base64, or null for none (the process then reads end-of-file at once). */
  stdin: z
    .base64()
    .refine(
      (text) => (text.length / 4) * 3 <= MAX_STDIN_BYTES + 2,
      `must be at most ${MAX_STDIN_BYTES} bytes`,
    )
    .nullable(),
  /** Absolute directory to run in, or null for the agent's own work directory. */
  workingDirectory: processText(4096).min(1).nullable(),
  /** Variables added to the clean environment. */
  environment: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/), processText(MAX_ENVIRONMENT_VALUE_BYTES))
    .refine(
      (env) => Object.keys(env).length <= MAX_ENVIRONMENT_ENTRIES,
      `at most ${MAX_ENVIRONMENT_ENTRIES} entries`,
    )
    .refine((env) => !('STEELTHREAD_COMMAND_ID' in env), 'STEELTHREAD_COMMAND_ID is reserved'),
  /** Operating-system user to run as, or null for the agent's own. */
  user: processText(256).min(1).nullable(),
  /** Ask for elevation (`sudo -n`); an agent without the capability rejects the command. */
  elevated: z.boolean(),
  /** Run time limit, milliseconds on the agent's monotonic clock. */
  timeoutMs: z
    .int()
    .min(100)
    .max(24 * 60 * 60 * 1000),
  /** Bytes kept per output stream. */
  outputCapBytes: z
    .int()
    .min(0)
    .max(1024 * 1024 * 1024),
  /** How long the command may wait to be started, milliseconds from its acceptance. */
  expiryMs: z.int().min(1000).max(MAX_EXPIRY_MS),
};

export const shellActSchema = z.strictObject({
  mode: z.literal('shell'),
  shell: shellNameSchema,
  script: processText(MAX_SCRIPT_BYTES).refine((text) => text.trim() !== '', 'must not be empty'),
  ...sharedActFields,
});

export const argvActSchema = z.strictObject({
  mode: z.literal('argv'),
  argv: z
    .array(processText(MAX_SCRIPT_BYTES))
    .min(1)
    .max(MAX_ARGV_ITEMS)
    .refine((argv) => argv[0] !== '', 'the program must not be empty'),
  ...sharedActFields,
});

export const actSchema = z.discriminatedUnion('mode', [shellActSchema, argvActSchema]);
export type Act = z.infer<typeof actSchema>;

/** What a digest binds besides the act itself. Ad-hoc commands have no task: empty strings and step 0. */
export interface ActBinding {
  /** `<task id>/<run no>`, or '' for ad-hoc work. */
  taskRun: string;
  /** Step number from 1, or 0 for ad-hoc work. */
  step: number;
  /** Proposal id, or '' for ad-hoc work. */
  proposalId: string;
}

export const adHocBinding: ActBinding = { taskRun: '', step: 0, proposalId: '' };

/**
 * Digest of an act: lower-case hex sha256 over length-prefixed fields in a fixed order.
 * Every field is tag (0 = null, 1 = present) + 4-byte big-endian length + bytes, so no two acts share an encoding.
 */
export function actDigest(act: Act, binding: ActBinding): string {
  const hash = createHash('sha256');
  const put = (value: string | Buffer | number | boolean | null): void => {
    if (value === null) {
      hash.update(Buffer.from([0]));
      return;
    }
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value), 'utf8');
    const head = Buffer.alloc(5);
    head[0] = 1;
    head.writeUInt32BE(bytes.length, 1);
    hash.update(head).update(bytes);
  };
  put('steelthread/act');
  put(ACT_VERSION);
  put(binding.taskRun);
  put(binding.step);
  put(binding.proposalId);
  put(act.mode);
  if (act.mode === 'shell') {
    put(act.shell);
    put(act.script);
  } else {
    put(act.argv.length);
    for (const item of act.argv) put(item);
  }
  put(act.stdin === null ? null : Buffer.from(act.stdin, 'base64'));
  put(act.workingDirectory);
  const names = Object.keys(act.environment).sort();
  put(names.length);
  for (const name of names) {
    put(name);
    put(act.environment[name] ?? null);
  }
  put(act.user);
  put(act.elevated);
  put(act.timeoutMs);
  put(act.outputCapBytes);
  put(act.expiryMs);
  return hash.digest('hex');
}

/** Digest that a decision binds: the act and every agent it will run on (order and repeats do not matter). */
export function batchDigest(digest: string, agentIds: readonly string[]): string {
  const hash = createHash('sha256').update('steelthread/batch\0').update(digest);
  for (const id of [...new Set(agentIds)].sort()) {
    const bytes = Buffer.from(id, 'utf8');
    const head = Buffer.alloc(4);
    head.writeUInt32BE(bytes.length, 0);
    hash.update(head).update(bytes);
  }
  return hash.digest('hex');
}

/** One line that shows a person what will run: the script, or the argv joined with shell-style quotes. */
export function actText(act: Act): string {
  if (act.mode === 'shell') return act.script;
  return act.argv
    .map((item) => (/^[\w@%+=:,./-]+$/.test(item) ? item : `'${item.replaceAll("'", `'\\''`)}'`))
    .join(' ');
}
