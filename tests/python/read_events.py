"""Reads a folder of event files with both of TensorBoard's readers and prints what they show, as JSON.

`python` is TensorBoard's reader in Python; `server` is the data server that `tensorboard` uses by default,
asked for the scalars.
"""

import base64
import json
import sys

from tensorboard import context
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util, tensor_util


def readable(plugin, tensor):
    """A tensor's content as TensorBoard's plugin of this name understands it."""
    values = tensor_util.make_ndarray(tensor)
    if plugin == "images":
        width, height, png = values.tolist()
        return [int(width), int(height), base64.b16encode(png).decode()]
    if plugin == "text":
        return values.item().decode()
    return values.tolist()


def read_by_python(folder):
    accumulator = plugin_event_accumulator.EventAccumulator(folder, size_guidance={"tensors": 0})
    accumulator.Reload()
    shown = {}
    for tag in accumulator.Tags()["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        events = accumulator.Tensors(tag)
        shown[tag] = {
            "plugin": plugin,
            "events": [[event.step, event.wall_time, readable(plugin, event.tensor_proto)] for event in events],
        }
    return shown


def read_by_server(folder):
    ingester = server_ingester.SubprocessServerDataIngester(
        server_ingester.get_server_binary(),
        folder,
        reload_interval=0,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        samples_per_plugin={"scalars": 0},
    )
    ingester.start()
    runs = ingester.data_provider.read_scalars(
        context.RequestContext(), experiment_id="", plugin_name="scalars", downsample=1000
    )
    (tags,) = runs.values()
    return {tag: [[event.step, event.wall_time, event.value] for event in events] for tag, events in tags.items()}


if __name__ == "__main__":
    shown = {"python": read_by_python(sys.argv[1]), "server": read_by_server(sys.argv[1])}
    # JSON knows finite numbers only: the others become the texts NaN, Infinity, -Infinity.
    shown = json.loads(json.dumps(shown), parse_constant=str)
    json.dump(shown, sys.stdout)
