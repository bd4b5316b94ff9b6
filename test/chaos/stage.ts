/** An installation with gates on every wire, a scripted model, and triggers that tell of every commit. */
import type { Delivery } from '../../contracts/agent-protocol.ts';
import {
  type AgentPart,
  type ApiPart,
  createInstallation,
  type Installation,
  type Part,
} from '../support/installation.ts';
import { type Effects, openEffects } from './effects.ts';
import { type Gate, openGate } from './gate.ts';
import { type Model, startModel } from './model.ts';
import { type Watch, watchChanges } from './watch.ts';

export interface Stage {
  installation: Installation;
  effects: Effects;
  model: Model;
  watch: Watch;
  /** Wires: agents to the API, API and worker to Temporal, worker to the model. */
  gates: Record<'agents' | 'apiTemporal' | 'workerTemporal' | 'model', Gate>;
  api: ApiPart;
  worker: Part;
  agent: AgentPart;
  close(): Promise<void>;
}

const portOf = (address: string): number => Number(address.split(':').at(-1));

export async function openStage(
  given: { databaseUrl?: string; temporalAddress?: string; delivery?: Delivery } = {},
): Promise<Stage> {
  const effects = openEffects();
  const model = await startModel();
  let apiPort = 0;
  let temporalPort = 0;
  const gates = {
    agents: await openGate(() => apiPort),
    apiTemporal: await openGate(() => temporalPort),
    workerTemporal: await openGate(() => temporalPort),
    model: await openGate(() => portOf(model.stub.url)),
  };
  const installation = await createInstallation({
    databaseUrl: given.databaseUrl,
    temporalAddress: given.temporalAddress,
    env: { ...model.env, ANTHROPIC_BASE_URL: `http://${gates.model.address}` },
    apiEnv: { TEMPORAL_ADDRESS: gates.apiTemporal.address },
    workerEnv: { TEMPORAL_ADDRESS: gates.workerTemporal.address },
  });
  apiPort = installation.port;
  temporalPort = portOf(installation.temporalAddress);
  const watch = await watchChanges(installation.databaseUrl);
  const api = await installation.startApi();
  const worker = await installation.startWorker();
  const agent = await installation.startAgent({
    url: `http://${gates.agents.address}`,
    env: { STEELTHREAD_AGENT_DELIVERY: given.delivery ?? 'websocket' },
  });
  return {
    installation,
    effects,
    model,
    watch,
    gates,
    api,
    worker,
    agent,
    async close() {
      for (const gate of Object.values(gates)) gate.release();
      await installation.close();
      for (const gate of Object.values(gates)) await gate.close();
      await watch.close();
      await model.close();
      effects.close();
    },
  };
}
