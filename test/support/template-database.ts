/** The migrated database that tests clone, and what the run provides to tests. */

export const TEMPLATE_DATABASE = 'steelthread_template';

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser URL of the cluster's first database; tests clone the template instead of using it. */
    postgresUrl: string;
    temporalAddress: string;
    /** Why there is no template database, or null. Tests without a database run all the same. */
    templateError: string | null;
  }
}
