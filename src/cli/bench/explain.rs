use crate::bench::{self, Operation, Plan, time_text};
use crate::cli::{CliError, Output, table};

/// Prints where the time of one operation goes.
pub(super) fn run(operation: Operation, plan: &Plan, output: Output) -> Result<(), CliError> {
    let explained = bench::explain(operation, plan)?;
    output.answer(&explained, |text| {
        use std::fmt::Write;
        writeln!(text, "{}: {}", explained.operation, time_text(explained.whole_ns))?;
        let share = |ns: f64| format!("{:.1} %", 100.0 * ns / explained.whole_ns);
        let mut rows: Vec<Vec<String>> = (explained.parts.iter())
            .map(|p| {
                let times = if p.times > 0.0 { format!("{:.2}", p.times) } else { String::new() };
                vec![p.part.clone(), share(p.ns), time_text(p.ns), times]
            })
            .collect();
        let sum = explained.sum_ns;
        rows.push(vec!["sum of the parts".to_owned(), share(sum), time_text(sum), String::new()]);
        text.push_str(&table(&["part", "of the whole", "time", "times"], &[1, 2, 3], &rows));
        match explained.adds_up {
            true => writeln!(text, "The parts add up to the whole within a tenth.")?,
            false => writeln!(
                text,
                "THE PARTS DO NOT ADD UP to the whole within a tenth: something is missing, or the machine was disturbed. Repeat it."
            )?,
        }
        for note in &explained.notes {
            writeln!(text, "{note}")?;
        }
        Ok(())
    })
}
