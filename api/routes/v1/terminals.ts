import {
  ASCIICAST_TYPE,
  endTerminalRoute,
  getTerminalRoute,
  grantTerminalsRoute,
  listTerminalsRoute,
  readRecordingRoute,
} from '../../../contracts/terminal-routes.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { readRecording } from '../../../domain/terminal/recording.ts';
import { grantTerminals } from '../../../domain/terminal/rights.ts';
import {
  endTerminal,
  getTerminal,
  listTerminalPage,
  presentTerminal,
} from '../../../domain/terminal/sessions.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/terminal/sessions`. */
export function terminalRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listTerminalsRoute, async (request) => ({
      status: 200,
      body: await listTerminalPage(deps, request, request.query),
    })),
    mount(getTerminalRoute, async (request) => ({
      status: 200,
      body: presentTerminal(await getTerminal(deps, request, request.params.terminalId)),
    })),
    mount(endTerminalRoute, async (request) => {
      const session = await endTerminal(deps, request, request.params.terminalId, request.body.reason);
      return { status: session.state === 'ended' ? 200 : 202, body: presentTerminal(session) };
    }),
    mount(grantTerminalsRoute, async (request) => {
      await grantTerminals(deps, request, request.params.userId, request.body.isAllowed);
      return { status: 204 };
    }),
    mount(readRecordingRoute, async (request) => {
      const { name, bytes } = await readRecording(deps, request, request.params.terminalId);
      return {
        status: 200,
        headers: { 'Content-Type': ASCIICAST_TYPE, 'Content-Disposition': `attachment; filename="${name}"` },
        body: bytes,
      };
    }),
  ];
}
