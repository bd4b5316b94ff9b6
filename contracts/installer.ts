/** Installer packages: a zip with a ready agent, install scripts and a fresh enrolment token. */
import { z } from 'zod';
import { createEnrolmentBodySchema } from './agents.ts';
import { bytes, defineRoute } from './route.ts';

/** Default life of the enrolment token in a package, milliseconds: it has to be carried to its machine. */
export const DEFAULT_INSTALLER_TTL_MS = 24 * 60 * 60 * 1000;
/** Longest base URL and longest name, characters. */
const MAX_URL_LENGTH = 2048;
const MAX_NAME_LENGTH = 255;

/** Base URL of the server as agents dial it: http(s), without credentials, query or fragment, printable ASCII. */
export const serverUrlSchema = z
  .string()
  .max(MAX_URL_LENGTH)
  // The URL parser drops line breaks and blanks without a word.
  .refine((text) => /^[\x21-\x7e]+$/.test(text) && isServerUrl(text), {
    error: 'must be an http:// or https:// URL without credentials, query and fragment',
  });

function isServerUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password, search, hash } = new URL(text);
  const isBare = username === '' && password === '' && search === '' && hash === '' && !/[?#@]/.test(text);
  return (protocol === 'http:' || protocol === 'https:') && hostname !== '' && isBare;
}

/** How an agent is to be called instead of its machine's name. Anything: it is only ever data. */
export const agentNameSchema = z.string().max(MAX_NAME_LENGTH);

export const createInstallerBodySchema = z.strictObject({
  kind: z.enum(['python', 'javascript']).default('python').meta({
    description: 'python: needs Python 3.8 or newer; javascript: needs Node.js 20.19 or newer',
  }),
  serverUrl: serverUrlSchema.optional().meta({ description: 'Default: PUBLIC_URL' }),
  agentName: agentNameSchema.min(1).optional(),
  tags: createEnrolmentBodySchema.shape.tags,
  autoStart: z.boolean().default(true),
  runAsService: z.boolean().default(true),
  debug: z.boolean().default(false),
  maxUses: createEnrolmentBodySchema.shape.maxUses,
  ttlMs: createEnrolmentBodySchema.shape.ttlMs.unwrap().default(DEFAULT_INSTALLER_TTL_MS),
});
export type CreateInstallerBody = z.infer<typeof createInstallerBodySchema>;

/** The reply of every route that makes a package. */
export const installerReply = bytes('application/zip', {
  headers: {
    'Content-Disposition': 'A name for the file',
    'X-Installer-Format': 'What the file is',
    'X-Enrolment-Expires': 'When the enrolment token inside stops to be good for an enrolment',
  },
  description: 'A zip with the agent, its configuration and install scripts',
});

export const installerErrors = ['conflict', 'idempotency_conflict', 'service_unavailable'] as const;

export const createInstallerRoute = defineRoute({
  family: 'house',
  tags: ['agents'],
  method: 'POST',
  path: '/v1/installers',
  summary: 'Make an installer package of the agent',
  description:
    'A zip with the agent program, scripts that install it (systemd, launchd, Windows) and a configuration with a fresh ' +
    'enrolment token. The token is in this reply only; a repeated Idempotency-Key is refused (409).',
  auth: 'user',
  verb: 'create',
  resource: 'installer',
  takesIdempotencyKey: true,
  rateClass: 'write',
  body: createInstallerBodySchema,
  replies: { 200: installerReply },
  errors: installerErrors,
});
