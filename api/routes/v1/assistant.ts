import { explainCommandRoute, suggestCommandRoute } from '../../../contracts/assistant.ts';
import type { AssistantDeps } from '../../../domain/assistant/exchanges.ts';
import { explainCommand } from '../../../domain/assistant/explain.ts';
import { suggestCommand } from '../../../domain/assistant/suggest.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/assistant`, and what it says of a command. */
export function assistantRoutes(deps: AssistantDeps): MountedRoute[] {
  return [
    mount(suggestCommandRoute, async (request) => {
      const { body, signal } = request;
      const { command, raw, ...answer } = await suggestCommand(deps, request, { ...body, signal });
      const shown = command && {
        ...command,
        parameters: [...command.parameters],
        tags: [...command.tags],
        labelReasons: [...command.labelReasons],
      };
      return { status: 200, body: { ...answer, command: shown, text: raw } };
    }),
    mount(explainCommandRoute, async (request) => {
      const { commandId } = request.params;
      return { status: 200, body: { text: await explainCommand(deps, request, commandId, request) } };
    }),
  ];
}
