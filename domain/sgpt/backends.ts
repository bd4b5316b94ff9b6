/** The command line programs that answer prompts: what each takes, and the exact arguments it is run with. */
import { type CliName, cliPrograms } from '../../contracts/agent-protocol.ts';
import type { ActRequest } from '../../contracts/commands.ts';

export const cliNames = Object.keys(cliPrograms) as CliName[];

export interface CliBackend {
  displayName: string;
  /** Whether a model can be named. */
  takesModel: boolean;
  /** The only options that are passed on. */
  flags: readonly string[];
  /** Program, arguments and standard input. No shell reads them. */
  act(prompt: string, options: readonly string[], model: string | null): Pick<ActRequest, 'argv' | 'stdin'>;
}

const modelArgs = (model: string | null): string[] => (model === null ? [] : ['--model', model]);

/** An argument that begins with a dash would be read as an option. */
const asArgument = (prompt: string): string => (prompt.startsWith('-') ? ` ${prompt}` : prompt);

export const cliBackends: Readonly<Record<CliName, CliBackend>> = {
  sgpt: {
    displayName: 'ShellGPT',
    takesModel: true,
    flags: ['--shell', '--md', '--no-interaction', '--cache', '--no-cache'],
    act: (prompt, options, model) => {
      // Nobody is there to answer its questions.
      const flags = [...new Set(['--no-interaction', ...options])];
      return { argv: [cliPrograms.sgpt, ...flags, ...modelArgs(model), asArgument(prompt)] };
    },
  },
  opencode: {
    displayName: 'OpenCode',
    takesModel: true,
    flags: [],
    act: (prompt, _options, model) => ({
      argv: [cliPrograms.opencode, 'run', ...modelArgs(model), asArgument(prompt)],
    }),
  },
  aider: {
    displayName: 'Aider',
    takesModel: true,
    flags: [],
    act: (prompt, _options, model) => ({
      argv: [
        cliPrograms.aider,
        '--yes-always',
        '--no-pretty',
        '--no-stream',
        '--no-check-update',
        ...modelArgs(model),
        `--message=${prompt}`,
      ],
    }),
  },
  mistral_code: {
    displayName: 'Mistral Code',
    takesModel: false,
    flags: [],
    act: (prompt) => ({
      argv: [cliPrograms.mistral_code],
      stdin: Buffer.from(prompt, 'utf8').toString('base64'),
    }),
  },
};

/** Those of the options that the backend does not know. */
export const unsupportedOptions = (name: CliName, options: readonly string[]): string[] =>
  options.filter((option) => !cliBackends[name].flags.includes(option));
