/** One schema change. Append-only: a landed migration never changes; expand → deploy → contract. */
export interface Migration {
  /** `NNNN_verb_noun`, equal to the file's name. */
  readonly name: string;
  /** SQL (PostgreSQL 15 features only), run in one transaction. */
  readonly up: string;
  /** SQL that takes `up` back, run in one transaction. */
  readonly down: string;
}
