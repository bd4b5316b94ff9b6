/**
 * Rows as JSON for a statement. One row is read as one: the planner counts on a hundred rows of a set, so that it would
 * rather read a small table whole, and goes on with that plan when the table has grown.
 */

/** The function that reads the JSON. */
export type RecordReader = 'jsonb_to_record' | 'jsonb_to_recordset';

/** The statement for one row, and the one for any number. */
export function statementOfRecords(write: (read: RecordReader) => string): (count: number) => string {
  const one = write('jsonb_to_record');
  const many = write('jsonb_to_recordset');
  return (count) => (count === 1 ? one : many);
}

/**
 * The JSON that the statement for `count` rows reads. Where rows of another kind go with one row there may be none of
 * them, which is read as a row without values.
 */
export const recordsFor = (count: number, records: readonly object[]): string =>
  JSON.stringify(count === 1 ? (records[0] ?? {}) : records);
