/** What making installer packages needs from outside. */

export const agentKinds = ['python', 'javascript'] as const;
export type AgentKind = (typeof agentKinds)[number];

export interface AgentFile {
  /** A plain file name. */
  name: string;
  bytes: Uint8Array;
  isExecutable: boolean;
}

export interface InstallerPort {
  /** Base URL that agents reach this server by, where the request names none. */
  serverUrl(): string;
  /** The operator of this server accepts connections without TLS from other machines (ALLOW_PLAINTEXT). */
  allowsPlaintext: boolean;
  /** The agent program and the scripts around it. */
  agentFiles(kind: AgentKind): Promise<readonly AgentFile[]>;
}
