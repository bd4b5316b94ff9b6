/** An answer of the assistant as alice's clients read it: `conversation`, `token`s, then `done` or `error`. */
import { isProblem } from '../../../contracts/errors.ts';
import type { AliceChatFrame } from '../../../contracts/families/alice/chat.ts';
import { errorTextOf } from '../../../contracts/families/error-texts.ts';
import type { EventStream, StreamViewer } from '../../../contracts/route.ts';
import { type AnswerEnd, answerQuestion } from '../../../domain/conversations/answer.ts';
import type { Question } from '../../../domain/conversations/ask.ts';
import type { ConversationDeps } from '../../../domain/conversations/deps.ts';
import type { Actor } from '../../../domain/deps.ts';
import { asProblem } from '../../errors/describe-error.ts';

/** What clients read of an answer that broke off, whatever broke it. */
const STREAM_ERROR = 'STREAM_ERROR';

interface Asked {
  request: Actor;
  viewer: StreamViewer<Actor['principal']>;
  question: Question;
}

/** Resolves when the answer is stored and its last frame is sent. */
export async function streamAnswer(deps: ConversationDeps, asked: Asked, stream: EventStream): Promise<void> {
  const { request, viewer, question } = asked;
  const { conversationId: conversation_id, isNew: is_new } = question;
  const send = (frame: AliceChatFrame): void => stream.send(frame);
  let index = 0;
  const onText = (content: string): void => {
    send({ event: 'token', data: { content, index } });
    index += 1;
  };

  send({ event: 'conversation', data: { conversation_id, is_new } });
  const actor = (): Actor => ({ ...request, principal: viewer.principal });
  let end: AnswerEnd;
  try {
    end =
      question.answer === null
        ? await answerQuestion(deps, actor, question, { signal: stream.closed, onText })
        : repeat(question.answer, onText);
  } catch (error) {
    // It could not be stored.
    end = { kind: 'failed', message: null, error };
  }
  if (end.kind === 'completed') {
    const { id: message_id, inputTokens, outputTokens } = end.message;
    const total_tokens = (inputTokens ?? 0) + (outputTokens ?? 0);
    send({ event: 'done', data: { message_id, conversation_id, total_tokens } });
  } else if (end.kind === 'failed') {
    const { requestId } = request;
    if (!isProblem(end.error))
      deps.log.error({
        event: 'chat_answer_failed',
        requestId,
        conversationId: conversation_id,
        err: end.error,
      });
    send(errorFrame(end.error, index > 0));
  } else {
    // Nobody reads it, unless this is a repetition of what broke off then.
    send({ event: 'error', data: { detail: 'The answer was interrupted', code: STREAM_ERROR } });
  }
}

/** An answer that was given before, in one piece, with the end it had. */
function repeat(message: NonNullable<Question['answer']>, onText: (text: string) => void): AnswerEnd {
  onText(message.content);
  return message.status === 'completed' ? { kind: 'completed', message } : { kind: 'interrupted', message };
}

/** Before the first token the family's code says what is wrong; after it, only that the stream broke. */
function errorFrame(error: unknown, hasSaid: boolean): AliceChatFrame {
  const known = asProblem(error);
  const text = errorTextOf(known.code, 'alice', null);
  const code = text.code ?? known.code.toUpperCase();
  const isTold = !hasSaid && known.code !== 'internal_error';
  return {
    event: 'error',
    data: { detail: text.message ?? known.message, code: isTold ? code : STREAM_ERROR },
  };
}
