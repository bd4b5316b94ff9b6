/** What an API token may be made for. Which rights each scope holds stands in `domain/scopes.ts`. */

export const apiTokenScopes = ['read', 'tasks', 'decide', 'commands', 'agents', 'admin'] as const;
export type ApiTokenScope = (typeof apiTokenScopes)[number];
