import { problem } from '../../../contracts/errors.ts';
import {
  type AnantaGenerateBody,
  type AnantaGenerated,
  anantaGenerateRoute,
} from '../../../contracts/families/ananta/llm.ts';
import type { EventStream, HandlerRequest } from '../../../contracts/route.ts';
import {
  type GenerateDeps,
  type Generated,
  type GenerateWish,
  generate,
} from '../../../domain/generate/generate.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { chooseModel, unknownProvider } from '../../../domain/tasks/compare-models.ts';
import { asProblem } from '../../errors/describe-error.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { given, success } from './envelope.ts';
import { toolCallsOf } from './step-wishes.ts';

type Request = HandlerRequest<typeof anantaGenerateRoute>;

/** `/llm/generate` */
export function anantaLlmRoutes(deps: GenerateDeps): MountedRoute[] {
  return [
    mount(anantaGenerateRoute, async (request) => {
      const body = request.body ?? {};
      const wish = wishOf(deps, request, body);
      if (body.stream === true) return { status: 200, stream: await beginAnswer(deps, request, wish) };
      const generated = await generate(deps, request, {
        ...wish,
        signal: request.signal,
        onText: () => undefined,
      });
      return {
        status: 200,
        body: success({ response: generated.response, ...moreOf(generated) } as AnantaGenerated),
      };
    }),
  ];
}

/** @throws invalid_request */
function wishOf(
  deps: GenerateDeps,
  request: Request,
  body: AnantaGenerateBody,
): Omit<GenerateWish, 'signal' | 'onText'> {
  const toolCalls = toolCallsOf(body.tool_calls);
  const prompt = body.prompt?.trim() ?? '';
  if (toolCalls.length === 0) given(prompt, 'Missing prompt');
  return {
    prompt,
    history: body.history ?? [],
    toolCalls,
    isConfirmed: body.confirm_tool_calls === true || body.confirmed === true,
    model: modelOf(deps.chat, body.config),
    requestKey: requestKeyOf(request, { generate: body }),
  };
}

/** Undefined: the configured one. @throws invalid_request where the provider is none of this installation */
export function modelOf(
  provider: { name: string },
  config: { provider?: string | null | undefined; model?: string | null | undefined } | null | undefined,
): string | undefined {
  const named = config?.provider || null;
  const choice = named === null ? { model: undefined } : chooseModel(provider, named);
  if (named !== null && choice === undefined)
    throw problem('invalid_request', { reason: unknownProvider(named).error });
  const wanted = config?.model || null;
  if (wanted === null) return choice?.model;
  // Clients that list models as `<provider>:<model>` send either back.
  const model = (chooseModel(provider, wanted) ?? chooseModel(provider, `${provider.name}:${wanted}`))?.model;
  if (model === undefined) throw problem('invalid_request', { reason: `Unknown model: ${wanted}` });
  return model;
}

/** The members of an answer besides its words. */
function moreOf(generated: Generated) {
  switch (generated.kind) {
    case 'said':
      return {};
    case 'unconfirmed':
      return {
        requires_confirmation: true as const,
        thought: generated.thought,
        tool_calls: generated.toolCalls.map(({ name, args }) => ({ name, args: { ...args } })),
      };
    case 'ran':
      return { tool_results: generated.toolResults, blocked_tools: generated.blockedTools };
  }
}

/**
 * Resolves with the first piece, or with the end where nothing was said, so that what fails before is answered as an error.
 * @throws as `generate`
 */
async function beginAnswer(
  deps: GenerateDeps,
  request: Request,
  wish: Omit<GenerateWish, 'signal' | 'onText'>,
): Promise<(stream: EventStream) => Promise<void>> {
  const ending = new AbortController();
  const waiting: string[] = [];
  let send = (text: string): void => void waiting.push(text);
  let begin = (): void => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const answer = generate(deps, request, {
    ...wish,
    signal: AbortSignal.any([request.signal, ending.signal]),
    onText(text) {
      send(text);
      begin();
    },
  });
  await Promise.race([begun, answer]);
  // Until somebody waits for it below.
  answer.catch(() => undefined);

  return async (stream) => {
    const end = (): void => ending.abort();
    stream.closed.addEventListener('abort', end, { once: true });
    if (stream.closed.aborted) end();
    send = (text) => stream.send({ data: text });
    for (const text of waiting) send(text);
    try {
      const generated = await answer;
      if (generated.kind === 'unconfirmed') stream.send({ event: 'confirmation', data: moreOf(generated) });
      if (generated.kind === 'ran') stream.send({ event: 'tool_results', data: moreOf(generated) });
      stream.send({ event: 'done', data: '[DONE]' });
    } catch (error) {
      if (stream.closed.aborted) return;
      const { code } = asProblem(error);
      if (code === 'internal_error')
        deps.log.error({ event: 'llm_generate_failed', requestId: request.requestId, err: error });
      stream.send({ event: 'error', data: { message: code } });
    }
  };
}
