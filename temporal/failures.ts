/** What a failed call to Temporal means. Codes of gRPC, never message texts. */
import { isGrpcServiceError, WorkflowNotFoundError } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';

const grpcCodes = {
  cancelled: 1,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  unavailable: 14,
} as const;

export type FailureKind =
  /** The server cannot be reached, hangs or asks for patience: nothing is wrong with the call. */
  | 'away'
  /** The workflow is closed or was never there. */
  | 'not_found'
  | 'already_started'
  /** Something is wrong with this very call. */
  | 'refused';

export function failureKind(error: unknown): FailureKind {
  if (error instanceof WorkflowExecutionAlreadyStartedError) return 'already_started';
  if (error instanceof WorkflowNotFoundError) return 'not_found';
  const code = grpcCodeOf(error);
  if (code === grpcCodes.notFound) return 'not_found';
  const awayCodes: (number | undefined)[] = [
    grpcCodes.unavailable,
    grpcCodes.deadlineExceeded,
    grpcCodes.cancelled,
    grpcCodes.resourceExhausted,
  ];
  return awayCodes.includes(code) ? 'away' : 'refused';
}

/** There was no answer within the time that the call had: client or server, whoever notices first, says so in its words. */
export function isUnanswered(error: unknown): boolean {
  const code = grpcCodeOf(error);
  return code === grpcCodes.deadlineExceeded || code === grpcCodes.cancelled;
}

/** The client wraps what gRPC says into errors of its own: look at the cause as well. */
function grpcCodeOf(error: unknown): number | undefined {
  for (let current = error; current instanceof Error; current = current.cause) {
    if (isGrpcServiceError(current)) return current.code;
  }
  return undefined;
}
