use crate::bench::{self, AddsUp, Operation, Plan, time_text};
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
        let of = explained.of_whole;
        let measured = format!(
            "the sum is {:.3} of it ({:.3} to {:.3} in 95 % of draws, from {} rounds)",
            of.median, of.low, of.high, explained.rounds
        );
        match explained.adds_up {
            AddsUp::Yes => writeln!(text, "The parts add up to the whole within a tenth: {measured}.")?,
            AddsUp::No => writeln!(
                text,
                "THE PARTS DO NOT ADD UP to the whole within a tenth: {measured}. Something is missing, or counted twice."
            )?,
            AddsUp::NotKnown => writeln!(
                text,
                "WHETHER THE PARTS ADD UP within a tenth IS NOT KNOWN: {measured}. The machine was disturbed: repeat it on a quieter \
                 one, or with --full."
            )?,
        }
        for note in &explained.notes {
            writeln!(text, "{note}")?;
        }
        Ok(())
    })
}
