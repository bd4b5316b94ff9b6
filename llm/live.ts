/** A port whose settings may change while the process runs: each call goes to the port that fits them now. */
import type { LlmPort } from './port.ts';

/**
 * @param read the settings in force; the same object for as long as nothing changed
 * @param build makes the port for them, once for each object
 * @returns the port for the settings in force
 */
export function createLive<Settings extends object, Port>(
  read: () => Settings,
  build: (settings: Settings) => Port,
): () => Port {
  let built: { settings: Settings; port: Port } | undefined;
  return () => {
    const settings = read();
    if (built?.settings !== settings) built = { settings, port: build(settings) };
    return built.port;
  };
}

/** See `createLive`. */
export function createLivePort<Settings extends object>(
  read: () => Settings,
  build: (settings: Settings) => LlmPort,
): LlmPort {
  const current = createLive(read, build);
  return {
    get name() {
      return current().name;
    },
    get isMock() {
      return current().isMock;
    },
    propose: (request, options) => current().propose(request, options),
  };
}
