/**
 * What the dialects of agents without a journal have in common. Their shapes are section "Dialects" of
 * docs/reference/agent-dialects.md. They differ in the frame of a command; what such agents say is read in one place
 * (events.ts), because the agents in the field mix the shapes.
 */
import type { ShellName } from '../../../contracts/act.ts';

/** A command as these agents can be told: a line of shell, where, and for how long. */
export interface LegacyCommand {
  commandId: string;
  shell: ShellName;
  script: string;
  workingDirectory: string | null;
  /** Ask for the rights of an administrator; only where the dialect, or the agent itself, offers them. */
  elevated: boolean;
  timeoutSeconds: number;
}

export type LegacyFrame = Readonly<Record<string, unknown>>;

export interface Dialect {
  /** For logs. */
  readonly name: string;
  /** Whether all of its agents heed `run_as_admin`; those of the others where they say so. */
  readonly canElevate: boolean;
  /** Whether a command's frame can name its shell; else the agent runs it in the one shell it has. */
  readonly namesShell: boolean;
  commandFrame(command: LegacyCommand): LegacyFrame;
}

export const now = (): string => new Date().toISOString();

/** Before a request id of ours in dialect A; its agents give back what they got. */
export const REQUEST_ID_PREFIX = 'ps_';

/** Said only where it is asked for: what an agent that offers it must not miss. */
export const elevation = ({ elevated }: LegacyCommand): LegacyFrame =>
  elevated ? { run_as_admin: true } : {};

/** The fields that all agents of the nested kinds look for, under both names of the id. */
export const commandData = (command: LegacyCommand) => ({
  id: command.commandId,
  command_id: command.commandId,
  type: command.shell === 'cmd' ? 'cmd' : 'powershell',
  command: command.script,
  timeout: command.timeoutSeconds,
  working_directory: command.workingDirectory,
  ...elevation(command),
});
