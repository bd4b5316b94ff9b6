/** The house routes of terminal sessions; the shapes are in `terminals.ts`. */
import { z } from 'zod';
import { bytes, defineRoute, empty, json } from './route.ts';
import {
  endTerminalBodySchema,
  terminalListQuerySchema,
  terminalPageSchema,
  terminalSessionSchema,
} from './terminals.ts';

/** Media type of asciicast v2. */
export const ASCIICAST_TYPE = 'application/x-asciicast';

const shared = { family: 'house', tags: ['terminals'], auth: 'user', resource: 'terminal' } as const;
const params = z.object({ terminalId: z.uuid() });

export const listTerminalsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/terminal/sessions',
  summary: 'List terminal sessions, newest first',
  description:
    'A session is opened by a WebSocket at `/ws/terminal`. Who is no administrator sees their own.',
  rateClass: 'read',
  verb: 'list',
  query: terminalListQuerySchema,
  replies: { 200: terminalPageSchema },
  errors: ['invalid_cursor'],
});

export const getTerminalRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/terminal/sessions/{terminalId}',
  summary: 'Read a terminal session',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: terminalSessionSchema },
  errors: ['terminal_not_found'],
});

export const endTerminalRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/terminal/sessions/{terminalId}/end',
  summary: 'End a terminal session and everything that was started in it',
  description:
    'The agent ends it; without a connection, as soon as it is back. Ending an ended one changes nothing.',
  rateClass: 'write',
  verb: 'delete',
  params,
  body: endTerminalBodySchema,
  replies: {
    202: terminalSessionSchema,
    200: json(terminalSessionSchema, { description: 'It had ended already' }),
  },
  errors: ['terminal_not_found'],
});

export const readRecordingRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/terminal/sessions/{terminalId}/recording',
  summary: 'Download the recording of a terminal session (asciicast v2)',
  description:
    'As much as is stored: a session that goes on can be read as well. Players of asciinema play it.',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: {
    200: bytes(ASCIICAST_TYPE, { headers: { 'Content-Disposition': 'Name of the file' } }),
  },
  errors: ['terminal_not_found', 'not_found'],
});

export const grantTerminalsRoute = defineRoute({
  family: 'house',
  tags: ['terminals'],
  auth: 'user',
  resource: 'user',
  method: 'PUT',
  path: '/v1/users/{userId}/terminal-right',
  summary: 'Let an account open terminals, or no more',
  description:
    'Administrators may without it. Taking it back ends open terminals of the account within 5 seconds.',
  rateClass: 'write',
  verb: 'update',
  params: z.object({ userId: z.uuid() }),
  body: z.strictObject({ isAllowed: z.boolean() }),
  replies: { 204: empty() },
  errors: ['user_not_found'],
});
