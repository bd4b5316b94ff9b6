/**
 * Delivery `temporal`: an activity worker on the agent's own task queue, beside the control socket.
 *
 * The activity only rings the bell: it claims the command over the control socket, where everything else happens by
 * the same code as for delivery `websocket`. Canceling the activity therefore does nothing; a cancel comes as a frame.
 *
 * `@temporalio/*` is an optional extra and is loaded only here.
 */
import type { Claims } from '../claims.ts';
import { type AgentLog, errorText } from '../log.ts';

/** How often the activity heartbeats, milliseconds. */
export const ACTIVITY_HEARTBEAT_MS = 5_000;
/** Pause before the worker is started again after it failed, milliseconds. */
const RESTART_AFTER_MS = 5_000;
/** Activities at once; the agent's own queue bounds how many commands run. */
const MAX_ACTIVITIES = 200;

export interface TemporalAddress {
  address: string;
  namespace: string;
  taskQueue: string;
}

export interface RunCommandInput {
  commandId: string;
  digest: string;
}

/** `refused` is null when the command's result is stored by the server, else the state that kept it from starting. */
export interface RunCommandOutput {
  refused: string | null;
}

/** Start the worker, and start it again whenever it fails, until `close`. */
export function startTemporalTransport(deps: { address: TemporalAddress; claims: Claims; log: AgentLog }): {
  close(): Promise<void>;
} {
  const { address, claims, log } = deps;
  let isClosing = false;
  let shutdown: () => void = () => {};
  let wake: () => void = () => {};

  const runOnce = async (): Promise<void> => {
    const [{ NativeConnection, Worker }, { activityInfo, heartbeat }] = await Promise.all([
      import('@temporalio/worker'),
      import('@temporalio/activity'),
    ]);
    const runCommand = async (input: RunCommandInput): Promise<RunCommandOutput> => {
      log.debug('activity_started', { commandId: input.commandId, attempt: activityInfo().attempt });
      const timer = setInterval(() => heartbeat(), ACTIVITY_HEARTBEAT_MS);
      try {
        const outcome = await claims.runCommand(input.commandId, input.digest);
        return { refused: outcome.kind === 'refused' ? outcome.state : null };
      } finally {
        clearInterval(timer);
      }
    };
    const connection = await NativeConnection.connect({ address: address.address });
    try {
      const worker = await Worker.create({
        connection,
        namespace: address.namespace,
        taskQueue: address.taskQueue,
        activities: { runCommand },
        maxConcurrentActivityTaskExecutions: MAX_ACTIVITIES,
        shutdownGraceTime: '1 minute',
      });
      shutdown = () => worker.shutdown();
      if (isClosing) return;
      log.info('activity_worker_started', { taskQueue: address.taskQueue });
      await worker.run();
    } finally {
      shutdown = () => {};
      await connection.close();
    }
  };

  const loop = async (): Promise<void> => {
    while (!isClosing) {
      try {
        await runOnce();
      } catch (error) {
        log.error('activity_worker_failed', { err: errorText(error) });
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, RESTART_AFTER_MS);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
          if (isClosing) wake();
        });
      }
    }
  };
  const running = loop();
  return {
    close: async () => {
      isClosing = true;
      shutdown();
      wake();
      await running;
    },
  };
}
