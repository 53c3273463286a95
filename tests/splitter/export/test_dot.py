"""DOT drawings."""

from planner_cases import MIB, Net, chain, costs_of, phone_edge_cloud, three_equal

from splitter.export.dot import plan_to_dot
from splitter.partitioning import partition

EXPECTED = """\
digraph "chain4" {
  rankdir=TB; node [shape=box, style="rounded,filled", fillcolor=white];
  label="chain4 on three_equal";
  subgraph cluster_0 {
    label="camera\\n0.22 ms, 3.4 of 3.4 MB"; style=filled; fillcolor="#eef3f8";
    "l0" [label="l0\\nconv2d"];
    "l1" [label="l1\\nconv2d"];
  }
  subgraph cluster_1 {
    label="hub\\n0.22 ms, 3.4 of 3.4 MB"; style=filled; fillcolor="#eef3f8";
    "l2" [label="l2\\nconv2d"];
    "l3" [label="l3\\nconv2d"];
  }
  "input x" [label="x", shape=ellipse];
  "output l3.out" [label="l3.out", shape=ellipse];
  "input x" -> "l0";
  "l0" -> "l1";
  "l1" -> "l2" [label="4.0 KB", color="#c0392b", fontcolor="#c0392b", penwidth=2];
  "l2" -> "l3";
  "l3" -> "output l3.out";
}
"""


def test_clusters_and_cut_edges() -> None:
    graph, topology = chain(4), three_equal(3 * MIB + 300_000)
    plan = partition(graph, topology, costs_of(graph, topology))
    assert plan_to_dot(graph, plan) == EXPECTED


def test_input_sent_away_is_a_cut_and_names_are_escaped() -> None:
    net = Net("quotes")
    graph = net.graph(net.layer('say "hi"', [net.input("x", 1000)], 10))
    topology = phone_edge_cloud()
    placement = {'say "hi"': "cloud"}
    plan = partition(graph, topology, costs_of(graph, topology), placement=placement)
    text = plan_to_dot(graph, plan)
    assert '"input x" -> "say \\"hi\\"" [label="4.0 KB"' in text
