import { cliPrograms } from '../../../contracts/agent-protocol.ts';
import { isProblem, problem } from '../../../contracts/errors.ts';
import {
  type AnantaCliBackend,
  type AnantaCliPrompt,
  type AnantaCliRuntime,
  anantaExecutePromptRoute,
  anantaFindContextRoute,
  anantaListBackendsRoute,
  anantaPreviewSourceRoute,
  MAX_CLI_OPTIONS,
} from '../../../contracts/families/ananta/sgpt.ts';
import type { HandlerRequest } from '../../../contracts/route.ts';
import type { LocalAgentDeps } from '../../../domain/commands/run-local.ts';
import { askModel } from '../../../domain/generate/ask-model.ts';
import { promptRules } from '../../../domain/generate/rules.ts';
import type { Chat } from '../../../domain/metered-chat.ts';
import { can } from '../../../domain/policy.ts';
import {
  CONTEXT_POLICY_VERSION,
  promptWithContext,
  type RepoContext,
  type RepoContextSource,
} from '../../../domain/repo-context/context.ts';
import { cliBackends, cliNames } from '../../../domain/sgpt/backends.ts';
import { type BackendRuntime, createBackendCircuits, healthOf } from '../../../domain/sgpt/circuits.ts';
import {
  type BackendName,
  chooseBackend,
  findInstalledBackends,
  isCliName,
  OWN_MODEL,
  readRouting,
  taskKindOf,
} from '../../../domain/sgpt/routing.ts';
import { chooseModel } from '../../../domain/tasks/compare-models.ts';
import type { Hub } from '../../events/hub.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { given, success } from './envelope.ts';
import { runBackend } from './run-backend.ts';

/** Longest part of a program's complaint that is told. */
const MAX_REASON_LENGTH = 500;
/** What may be a model's name to a program: never an option. */
const modelName = /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/;

type Deps = LocalAgentDeps & { hub: Hub; chat: Chat; repoContext: RepoContextSource };
type ExecuteRequest = HandlerRequest<typeof anantaExecutePromptRoute>;

interface Answer {
  output: string;
  errors: string;
  commandId: string | null;
  isCut: boolean;
}

/** `/api/sgpt` */
export function anantaSgptRoutes(deps: Deps): MountedRoute[] {
  const circuits = createBackendCircuits();

  const answerWith = async (
    backend: BackendName,
    request: ExecuteRequest,
    wish: { prompt: string; options: readonly string[]; model: string | null },
  ): Promise<Answer> => {
    const { signal } = request;
    if (backend !== OWN_MODEL) {
      const run = await runBackend(deps, request, backend, wish);
      const { commandId, state, output, errors, isCut } = run;
      // A program that failed with an answer has answered.
      if (state === 'succeeded' || (state === 'failed' && output.trim() !== ''))
        return { output, errors, commandId, isCut };
      const why = errors.trim().slice(-MAX_REASON_LENGTH).toWellFormed();
      const reason =
        why === '' ? `LLM CLI (${backend}) ended as ${state}, exit code ${run.exitCode ?? -1}` : why;
      throw problem(
        'backend_failed',
        { backend, reason },
        { details: { command_id: commandId, outcome: state, exit_code: run.exitCode } },
      );
    }
    const model = ownModelOf(deps.chat, wish.model);
    const { text } = await askModel(deps.chat, {
      rules: promptRules,
      messages: [{ role: 'user', content: wish.prompt }],
      principalId: request.principal.id,
      signal,
      ...(model !== undefined && { model }),
    });
    return { output: text, errors: '', commandId: null, isCut: false };
  };

  return [
    mount(anantaExecutePromptRoute, async (request) => {
      const body: Partial<AnantaCliPrompt> = request.body ?? {};
      const prompt = given(body.prompt?.trim(), 'Missing prompt');
      const options = optionsOf(body.options);
      const model = modelNameOf(body.model);
      const routing = await readRouting(deps);
      const requested = backendOf(body.backend) ?? routing.configuredBackend;
      const taskKind = taskKindOf(body.task_kind, prompt);
      const installed = await findInstalledBackends(deps);
      const mayRun = can(request.principal, 'execute', 'command');
      const { backend, reason } = chooseBackend(
        routing,
        { requested, taskKind, options, model },
        (name) => mayRun && installed?.has(name) === true && circuits.isClosed(name),
      );
      // Before anything is searched or asked: what cannot be is said at once.
      if (backend !== OWN_MODEL) {
        if (!mayRun) throw problem('forbidden');
        if (installed === undefined) throw problem('local_agent_unavailable');
        if (!installed.has(backend))
          throw unavailable(backend, 'it is not installed on the machine of the server');
      }
      if (!circuits.isClosed(backend))
        throw unavailable(backend, 'it has failed too often; the circuit breaker is open');

      const context =
        body.use_hybrid_context === true ? await deps.repoContext.find(request, prompt) : undefined;
      const question = context === undefined ? prompt : promptWithContext(prompt, context);
      const startedAt = performance.now();
      let answer: Answer;
      try {
        answer = await answerWith(backend, request, { prompt: question, options, model });
      } catch (error) {
        if (isBackendsFault(error) && !request.signal.aborted)
          circuits.failed(backend, complaintOf(error), exitCodeIn(error));
        throw error;
      }
      circuits.succeeded(backend, Math.round(performance.now() - startedAt));
      return {
        status: 200,
        body: success({
          output: answer.output,
          errors: answer.errors,
          backend,
          routing: {
            policy_version: routing.policyVersion,
            task_kind: taskKind,
            requested_backend: requested,
            effective_backend: backend,
            reason,
          },
          ...(context !== undefined && { context: summaryOf(context) }),
          command_id: answer.commandId,
          output_truncated: answer.isCut,
        }),
      };
    }),
    mount(anantaListBackendsRoute, async () => {
      const [routing, installed] = await Promise.all([readRouting(deps), findInstalledBackends(deps)]);
      const supported = cliNames.map((name): [string, AnantaCliBackend] => {
        const { displayName, takesModel, flags } = cliBackends[name];
        return [
          name,
          {
            display_name: displayName,
            supports_model: takesModel,
            supported_flags: [...flags],
            supports_temperature: false,
            supports_top_p: false,
          },
        ];
      });
      const runtime = cliNames.map((name) => {
        const isInstalled = installed?.has(name) === true;
        return [name, presentRuntime(circuits.read(name), isInstalled ? cliPrograms[name] : null)] as const;
      });
      return {
        status: 200,
        body: success({
          configured_backend: routing.configuredBackend,
          supported_backends: Object.fromEntries(supported),
          runtime: Object.fromEntries(runtime),
          fallback: { backend: OWN_MODEL, provider: deps.chat.name, mock: deps.chat.isMock },
        }),
      };
    }),
    mount(anantaFindContextRoute, async (request) => {
      const { query: asked, include_context_text: includesText } = request.body ?? {};
      const query = given(asked?.trim(), 'Missing query');
      const context = await deps.repoContext.find(request, query);
      return {
        status: 200,
        body: success({
          query,
          strategy: context.strategy,
          policy_version: CONTEXT_POLICY_VERSION,
          chunks: context.chunks.map((chunk) => ({
            engine: chunk.foundBy === 'symbols' ? ('repository_map' as const) : ('text_search' as const),
            source: chunk.path,
            content: chunk.content,
            score: chunk.score,
            metadata: { start_line: chunk.startLine, end_line: chunk.endLine },
          })),
          ...(includesText !== false && { context_text: context.text }),
          token_estimate: context.tokenEstimate,
        }),
      };
    }),
    mount(anantaPreviewSourceRoute, async (request) => {
      const path = given(request.body?.source_path, 'Missing source_path');
      const length = request.body?.max_chars ?? 0;
      const { preview, isTruncated, lineCount } = await deps.repoContext.preview(request, path, length);
      return {
        status: 200,
        body: success({ source_path: path, preview, truncated: isTruncated, line_count: lineCount }),
      };
    }),
  ];
}

/** @throws invalid_request */
function optionsOf(options: unknown): string[] {
  if (options === undefined || options === null) return [];
  if (!Array.isArray(options)) throw problem('invalid_request', { reason: 'Options must be a list' });
  if (options.length > MAX_CLI_OPTIONS || !options.every((option) => typeof option === 'string'))
    throw problem('invalid_request', { reason: 'options must contain only strings' });
  return options;
}

/** @throws invalid_request */
function modelNameOf(model: string | null | undefined): string | null {
  if (model === undefined || model === null || model === '') return null;
  if (!modelName.test(model)) throw problem('invalid_request', { reason: 'model is no name of a model' });
  return model;
}

/** Undefined where none is named. @throws invalid_request */
function backendOf(name: string | null | undefined) {
  const wanted = name?.trim().toLowerCase();
  if (wanted === undefined || wanted === '') return undefined;
  if (wanted === 'auto' || isCliName(wanted)) return wanted;
  const allowed = [...cliNames, 'auto'].sort().map((one) => `'${one}'`);
  throw problem('invalid_request', { reason: `Invalid backend. Allowed: [${allowed.join(', ')}]` });
}

/** A name that is one of our provider's; what programs call their models says nothing to it. */
const ownModelOf = (chat: Pick<Chat, 'name'>, model: string | null): string | undefined => {
  if (model === null) return undefined;
  const named = model.startsWith('claude-') ? `anthropic:${model}` : model;
  return chooseModel(chat, named)?.model;
};

const unavailable = (backend: BackendName, reason: string) =>
  problem('backend_unavailable', { backend, reason });

const isBackendsFault = (error: unknown): error is Error =>
  (['backend_failed', 'execution_pending', 'model_unavailable', 'answer_broken_off'] as const).some((code) =>
    isProblem(error, code),
  );

const complaintOf = (error: Error): string =>
  isProblem(error, 'backend_failed') ? String(error.params.reason) : error.message;

const exitCodeIn = (error: Error): number | null => {
  const code = isProblem(error) ? error.details?.exit_code : undefined;
  return typeof code === 'number' ? code : null;
};

const summaryOf = ({ strategy, chunks, tokenEstimate }: RepoContext) => ({
  strategy,
  policy_version: CONTEXT_POLICY_VERSION,
  chunk_count: chunks.length,
  token_estimate: tokenEstimate,
});

const secondsOf = (at: Date | null): number | null => (at === null ? null : at.getTime() / 1000);

const presentRuntime = (runtime: BackendRuntime, program: string | null): AnantaCliRuntime => ({
  binary_path: program,
  binary_available: program !== null,
  health_score: healthOf(runtime, program !== null),
  cooldown_active: runtime.coolingUntil !== null,
  cooldown_until: secondsOf(runtime.coolingUntil),
  last_success_at: secondsOf(runtime.lastSuccessAt),
  last_failure_at: secondsOf(runtime.lastFailureAt),
  last_error: runtime.lastError,
  last_rc: runtime.lastExitCode,
  last_latency_ms: runtime.lastLatencyMs,
  consecutive_failures: runtime.consecutiveFailures,
  total_success: runtime.totalSuccess,
  total_failures: runtime.totalFailures,
});
