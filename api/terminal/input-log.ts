/** What is typed in a session, as entries of the terminal log: one a second at most, with how much it was. */
import { MAX_INPUT_PREVIEW_LENGTH } from '../../contracts/terminals.ts';

/** Input is gathered for this long, milliseconds. */
const GATHER_MS = 1_000;

export interface InputLog {
  add(bytes: Buffer): void;
  /** Write what was gathered. Never rejects. */
  flush(): Promise<void>;
}

export interface InputEntry {
  bytes: number;
  /** The beginning, printable; only where input may be shown. */
  preview?: string;
}

export function createInputLog(deps: {
  showsInput: boolean;
  write(entry: InputEntry): Promise<void>;
  onError(error: unknown): void;
}): InputLog {
  let bytes = 0;
  let text = '';
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();

  const write = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (bytes === 0) return;
    const preview = text.replaceAll(/\p{C}/gu, ' ').slice(0, MAX_INPUT_PREVIEW_LENGTH).toWellFormed();
    const entry = { bytes, ...(deps.showsInput && { preview }) };
    bytes = 0;
    text = '';
    writing = writing.then(() => deps.write(entry)).catch(deps.onError);
  };

  return {
    add(typed) {
      bytes += typed.length;
      if (deps.showsInput && text.length < MAX_INPUT_PREVIEW_LENGTH) {
        text += typed.toString('utf8', 0, 4 * MAX_INPUT_PREVIEW_LENGTH);
      }
      timer ??= setTimeout(write, GATHER_MS);
    },
    async flush() {
      write();
      await writing;
    },
  };
}
