"""A site that answers at once with weights that nobody trained."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer with as many values as came; every site has others."""
    noise = np.random.default_rng(context.node_id)
    received = message.content.array_records["arrays"]
    arrays = ArrayRecord(
        {
            name: Array(noise.random(array.shape, dtype=np.float32))
            for name, array in received.items()
        }
    )
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
