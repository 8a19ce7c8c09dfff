"""What watches the broker: `/proc` sampling, STAT, the process table, the dashboard, renice."""
