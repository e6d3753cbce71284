"""Makes the embedded demo model: data generator, trainer, exporter, evaluation."""
