/** Prompts to command line programs on the server's machine, and context from its source folder, as ananta has them. */
import { z } from 'zod';
import { cliPrograms } from '../../agent-protocol.ts';
import { defineRoute } from '../../route.ts';
import { anantaSuccess } from '../ananta.ts';

/** Longest prompt, UTF-16 units: with its context it still fits one argument of a program. */
export const MAX_CLI_PROMPT_LENGTH = 20_000;
/** Most options of a prompt. */
export const MAX_CLI_OPTIONS = 20;
/** Bounds of a preview, UTF-16 units. */
const MIN_PREVIEW_LENGTH = 200;
const MAX_PREVIEW_LENGTH = 8_000;
const DEFAULT_PREVIEW_LENGTH = 1_600;

const shared = { family: 'ananta', tags: ['ananta models'], auth: 'user', rateClass: 'read' } as const;
const backendNames = Object.keys(cliPrograms) as [keyof typeof cliPrograms];

const strategySchema = z
  .object({
    name: z.literal('lexical'),
    semantic: z.literal(false).meta({ description: 'No embeddings: names and words only' }),
    repository_map: z.int().meta({ description: 'Chunks that were found by names of definitions' }),
    text_search: z.int().meta({ description: 'Chunks that were found by words' }),
    files_searched: z.int(),
    partial: z.boolean().meta({ description: 'Not every file was searched: bounds of size, number or time' }),
  })
  .meta({ id: 'AnantaContextStrategy' });

const promptSchema = z
  .object({
    prompt: z.string().max(MAX_CLI_PROMPT_LENGTH).nullish(),
    options: z.unknown().optional().meta({ description: 'A list of options; each backend knows its own' }),
    use_hybrid_context: z.boolean().nullish(),
    backend: z.string().max(100).nullish().meta({ description: 'A backend, or `auto`' }),
    model: z.string().trim().max(200).nullish(),
    task_kind: z.string().max(100).nullish().meta({ description: 'coding, analysis, doc or ops' }),
  })
  .meta({ id: 'AnantaCliPrompt' });
export type AnantaCliPrompt = z.infer<typeof promptSchema>;

export const anantaExecutePromptRoute = defineRoute({
  ...shared,
  rateClass: 'cli_backend',
  method: 'POST',
  path: '/api/sgpt/execute',
  summary: 'Have a prompt answered by a command line program, or by the language model',
  description:
    'A program runs as a command on the machine of the server, which takes the right to execute commands. `auto` takes the ' +
    'first that is installed, fits the options and is not left alone because of failures; where there is none, or the right ' +
    'is missing, the language model of this installation answers.',
  takesIdempotencyKey: true,
  verb: 'propose',
  resource: 'command',
  body: promptSchema.nullish(),
  replies: {
    200: anantaSuccess(
      z
        .object({
          output: z.string(),
          errors: z.string(),
          backend: z.string().meta({ description: '`model`: the language model of this installation' }),
          routing: z.object({
            policy_version: z.string(),
            task_kind: z.string(),
            requested_backend: z.string(),
            effective_backend: z.string(),
            reason: z.string(),
          }),
          context: z
            .object({
              strategy: strategySchema,
              policy_version: z.string(),
              chunk_count: z.int(),
              token_estimate: z.int(),
            })
            .optional(),
          command_id: z.string().nullable().meta({ description: 'Of the program that ran' }),
          output_truncated: z.boolean(),
        })
        .meta({ id: 'AnantaCliAnswer' }),
    ),
  },
  errors: [
    'invalid_request',
    'idempotency_conflict',
    'local_agent_unavailable',
    'backend_unavailable',
    'backend_failed',
    'execution_pending',
    'budget_exceeded',
    'model_unavailable',
    'answer_broken_off',
  ],
  errorTexts: { backend_failed: { status: 500, message: '{reason}' } },
});

const backendSchema = z.object({
  display_name: z.string(),
  supports_model: z.boolean(),
  supported_flags: z.array(z.string()),
  supports_temperature: z.literal(false),
  supports_top_p: z.literal(false),
});
export type AnantaCliBackend = z.infer<typeof backendSchema>;

const runtimeSchema = z
  .object({
    binary_path: z.string().nullable().meta({ description: 'As the agent finds it on its search path' }),
    binary_available: z.boolean(),
    health_score: z.int().meta({ description: '0 to 100' }),
    cooldown_active: z.boolean(),
    cooldown_until: z.number().nullable().meta({ description: 'Seconds since 1970' }),
    last_success_at: z.number().nullable(),
    last_failure_at: z.number().nullable(),
    last_error: z.string().nullable(),
    last_rc: z.int().nullable(),
    last_latency_ms: z.int().nullable(),
    consecutive_failures: z.int(),
    total_success: z.int(),
    total_failures: z.int(),
  })
  .meta({ id: 'AnantaCliRuntime' });
export type AnantaCliRuntime = z.infer<typeof runtimeSchema>;

export const anantaListBackendsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/sgpt/backends',
  summary: 'List the backends of prompts, and how they do',
  description:
    'Installed is what the agent of the server found at its start; while it is not connected, nothing is. Successes and ' +
    'failures are those of the process that answers.',
  verb: 'read',
  resource: 'agent',
  replies: {
    200: anantaSuccess(
      z.object({
        configured_backend: z.enum([...backendNames, 'auto']),
        supported_backends: z.record(z.string(), backendSchema),
        runtime: z.record(z.string(), runtimeSchema),
        fallback: z
          .object({ backend: z.literal('model'), provider: z.string(), mock: z.boolean() })
          .meta({ description: 'What answers `auto` where no program can' }),
      }),
    ),
  },
});

const chunkSchema = z
  .object({
    engine: z.enum(['repository_map', 'text_search']),
    source: z.string().meta({ description: 'Path from the folder; `POST /api/sgpt/source` takes it' }),
    content: z.string(),
    score: z.number(),
    metadata: z.object({ start_line: z.int(), end_line: z.int() }),
  })
  .meta({ id: 'AnantaContextChunk' });

export const anantaFindContextRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/sgpt/context',
  summary: 'Find parts of the source folder that fit a question',
  description: 'By names of definitions and words of the text. Without `CONTEXT_ROOT`: 400.',
  verb: 'read',
  resource: 'repository',
  body: z
    .object({
      query: z.string().max(MAX_CLI_PROMPT_LENGTH).nullish(),
      include_context_text: z.boolean().nullish().meta({ description: 'Default true' }),
    })
    .nullish(),
  replies: {
    200: anantaSuccess(
      z.object({
        query: z.string(),
        strategy: strategySchema,
        policy_version: z.string(),
        chunks: z.array(chunkSchema),
        context_text: z.string().optional(),
        token_estimate: z.int(),
      }),
    ),
  },
  errors: ['invalid_request'],
});

export const anantaPreviewSourceRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/sgpt/source',
  summary: 'Read the beginning of a file of the source folder',
  description:
    'Only text files of known kinds, no hidden ones, no links; what looks like a secret is blanked.',
  verb: 'read',
  resource: 'repository',
  body: z
    .object({
      source_path: z.string().max(4_096).nullish(),
      max_chars: z
        .number()
        .nullish()
        .transform((given) => {
          const wanted = Math.trunc(given ?? DEFAULT_PREVIEW_LENGTH);
          return Math.max(MIN_PREVIEW_LENGTH, Math.min(MAX_PREVIEW_LENGTH, wanted));
        })
        .meta({
          description: `${MIN_PREVIEW_LENGTH} to ${MAX_PREVIEW_LENGTH}, what is beyond counts as the bound; default ${DEFAULT_PREVIEW_LENGTH}`,
        }),
    })
    .nullish(),
  replies: {
    200: anantaSuccess(
      z.object({
        source_path: z.string(),
        preview: z.string(),
        truncated: z.boolean(),
        line_count: z.int().meta({ description: 'Lines of the preview' }),
      }),
    ),
  },
  errors: ['invalid_request', 'not_found'],
});
