"""The report: results and claims as Markdown, HTML, figures and a W&B report."""
