package activity

// Owner is for whom tasks were enqueued. It is read from what they share in the queue, for
// people who look after pools and know a task by the queue's name for its run.
type Owner struct {
	// WorkflowID and WorkflowType are those of the workflow that waits for the tasks, and
	// RunID is its run; empty for a batch.
	WorkflowID, WorkflowType, RunID string
	// Batch is the ID of a batch without a workflow, Receiver the workflow that is told of
	// its outcomes.
	Batch, Receiver string
	// Diverted: the task is an attempt of an activity of the workflow, which Temporal retries.
	Diverted bool
}

// ReadOwner reads the Common of a batchqueue.Wave that this package made.
func ReadOwner(common []byte) (Owner, error) {
	a, err := decodeAddress(common)
	if err != nil {
		return Owner{}, err
	}
	if a.Batch != "" {
		return Owner{Batch: a.Batch, Receiver: a.Receiver}, nil
	}
	return Owner{WorkflowID: a.WorkflowID, WorkflowType: a.WorkflowType, RunID: a.RunID, Diverted: a.TaskToken != nil}, nil
}
