/**
 * Tools of the hub: what a model may ask for beside commands, and what clients run by name. A tool is data until
 * `run.ts` runs it, for an administrator, within the guardrails.
 */
import { z } from 'zod';
import { problem } from '../../contracts/errors.ts';
import type { Actor } from '../deps.ts';

export const toolClasses = ['read', 'write', 'admin'] as const;
export type ToolClass = (typeof toolClasses)[number];

/** One call, as a model or a client wrote it. */
export interface ToolCall {
  name: string;
  args: Readonly<Record<string, unknown>>;
}

/** What became of one call, in the words of the family that has tools. */
export interface ToolResult {
  tool: string;
  success: boolean;
  output: unknown;
  error: string | null;
}

export interface HubTool {
  readonly name: string;
  /** For the model. */
  readonly description: string;
  readonly toolClass: ToolClass;
  /** JSON schema of the arguments, an object. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Arguments that no record repeats. */
  readonly secretArgs: readonly string[];
  /**
   * Does it, with the rights of the actor. The result is JSON.
   * @throws ToolInputError where the arguments do not fit; what the domain functions behind it throw
   */
  run(actor: Actor, args: Readonly<Record<string, unknown>>): Promise<unknown>;
}

/** The arguments of a call do not fit the tool; the message says which and why. */
export class ToolInputError extends Error {
  override readonly name = 'ToolInputError';
}

export interface ToolDefinition<Args extends z.ZodObject> {
  name: string;
  description: string;
  toolClass: ToolClass;
  args: Args;
  secretArgs?: readonly (keyof z.output<Args> & string)[];
  run(actor: Actor, args: z.output<Args>): Promise<unknown>;
}

/** A tool of its definition: arguments are parsed before it runs, unknown ones are dropped. */
export function defineTool<Args extends z.ZodObject>(definition: ToolDefinition<Args>): HubTool {
  const { $schema: _dialect, ...parameters } = z.toJSONSchema(definition.args, { io: 'input' });
  return {
    name: definition.name,
    description: definition.description,
    toolClass: definition.toolClass,
    parameters,
    secretArgs: definition.secretArgs ?? [],
    async run(actor, args) {
      const parsed = definition.args.safeParse(args);
      if (!parsed.success) {
        const issues = parsed.error.issues.map(
          ({ path, message }) => `${path.join('.') || 'args'}: ${message}`,
        );
        throw new ToolInputError(issues.join('; '));
      }
      return definition.run(actor, parsed.data);
    },
  };
}

/** What this installation lacks for a tool. */
export const lacking = (feature: string) => problem('not_supported', { feature });
