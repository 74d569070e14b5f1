//! What settings may be. A file of settings says anything; a run with a rate below zero would climb the loss in silence.

use std::ops::RangeInclusive;

use crate::data::augment::{Augment, Zoom};
use crate::train::clip::Clip;
use crate::train::config::{Config, StageConfig, ViewSource};
use crate::train::error::TrainError;
use crate::train::optimizer::Optimizer;
use crate::train::schedule::Decay;

const SHARE: RangeInclusive<f64> = 0.0..=1.0;
const NOT_NEGATIVE: RangeInclusive<f64> = 0.0..=f64::MAX;
/// Of a momentum: 1 would never let go.
const MOMENTUM: RangeInclusive<f64> = 0.0..=0.999_999;

/// Units of a hidden layer, and kept views of a photo. More is a slip, and asks for more memory than there is.
const MANY: f64 = 65536.0;

impl Config {
    /// The first setting that no run can have, if there is one.
    pub fn check(&self) -> Result<(), TrainError> {
        within("head.dropout", f64::from(self.head.dropout), 0.0..=0.999)?;
        within("head.hidden", self.head.hidden as f64, 0.0..=MANY)?;
        if let ViewSource::Kept(views) = self.views.source {
            within("views.source.kept", f64::from(views), 1.0..=MANY)?;
        }
        augment(&self.views.augment)?;
        stage("head_stage", &self.head_stage)?;
        if let Some(fine) = &self.fine_tuning {
            within("fine_tuning.rate_decay", fine.rate_decay, SHARE)?;
            within("fine_tuning.stage.epochs", fine.stage.epochs as f64, 1.0..=f64::MAX)?;
            stage("fine_tuning.stage", &fine.stage)?;
        }
        Ok(())
    }
}

fn stage(name: &str, stage: &StageConfig) -> Result<(), TrainError> {
    let check = |setting: &str, value: f64, range| within(&format!("{name}.{setting}"), value, range);
    check("batch", stage.batch as f64, 1.0..=f64::MAX)?;
    check("learning_rate", stage.learning_rate, NOT_NEGATIVE)?;
    check("label_smoothing", f64::from(stage.label_smoothing), SHARE)?;
    check("mixup", stage.mixup, NOT_NEGATIVE)?;
    if let Some(ema) = &stage.ema {
        check("ema.momentum", ema.momentum, MOMENTUM)?;
    }
    if let Some(Clip::Value(limit) | Clip::Norm(limit) | Clip::GlobalNorm(limit)) = stage.clip {
        check("clip", f64::from(limit), NOT_NEGATIVE)?;
    }
    if let Some(warmup) = &stage.schedule.warmup {
        check("schedule.warmup.epochs", warmup.epochs, NOT_NEGATIVE)?;
        check("schedule.warmup.from", warmup.from, SHARE)?;
    }
    match stage.schedule.decay {
        Decay::Constant => {}
        Decay::Step { drop, every } => {
            check("schedule.drop", drop, SHARE)?;
            check("schedule.every", f64::from(every), 1.0..=f64::MAX)?;
        }
        Decay::Cosine { floor } => check("schedule.floor", floor, SHARE)?,
        Decay::OneCycle(cycle) => {
            check("schedule.pct_start", cycle.pct_start, SHARE)?;
            check("schedule.div_factor", cycle.div_factor, 1.0..=f64::MAX)?;
            check("schedule.final_div_factor", cycle.final_div_factor, 1.0..=f64::MAX)?;
        }
    }
    let adam = |betas: [f64; 2], epsilon, decay| {
        betas.into_iter().try_for_each(|beta| check("optimizer.beta_1 or beta_2", beta, MOMENTUM))?;
        check("optimizer.epsilon", epsilon, NOT_NEGATIVE)?;
        check("optimizer.weight_decay", decay, NOT_NEGATIVE)
    };
    match &stage.optimizer {
        Optimizer::Adam(own) => adam([own.beta_1, own.beta_2], own.epsilon, own.weight_decay),
        Optimizer::AdamW(own) => adam([own.beta_1, own.beta_2], own.epsilon, own.weight_decay),
        Optimizer::RmsProp(own) => {
            check("optimizer.rho", own.rho, MOMENTUM)?;
            check("optimizer.momentum", own.momentum, MOMENTUM)?;
            check("optimizer.epsilon", own.epsilon, NOT_NEGATIVE)?;
            check("optimizer.weight_decay", own.weight_decay, NOT_NEGATIVE)
        }
        Optimizer::Sgd(own) => {
            check("optimizer.momentum", own.momentum, MOMENTUM)?;
            check("optimizer.weight_decay", own.weight_decay, NOT_NEGATIVE)
        }
    }
}

fn augment(augment: &Augment) -> Result<(), TrainError> {
    let check = |setting: &str, value: f64, range| within(&format!("views.augment.{setting}"), value, range);
    check("horizontal_flip", augment.horizontal_flip, SHARE)?;
    check("vertical_flip", augment.vertical_flip, SHARE)?;
    check("rotation", augment.rotation, NOT_NEGATIVE)?;
    check("shear", augment.shear, NOT_NEGATIVE)?;
    augment.shift.iter().try_for_each(|&shift| check("shift", shift, SHARE))?;
    if let Some(Zoom::Each(factors) | Zoom::Both(factors)) = augment.zoom {
        factors.into_iter().try_for_each(|factor| check("zoom", factor, 0.01..=100.0))?;
    }
    if let Some(crop) = &augment.crop {
        crop.area.iter().try_for_each(|&area| check("crop.area", area, 1e-4..=1.0))?;
        crop.aspect.iter().try_for_each(|&aspect| check("crop.aspect", aspect, 0.01..=100.0))?;
    }
    let color = &augment.color;
    for (setting, value) in
        [("brightness", color.brightness), ("contrast", color.contrast), ("saturation", color.saturation)]
    {
        check(&format!("color.{setting}"), value, NOT_NEGATIVE)?;
    }
    check("color.hue", color.hue, 0.0..=0.5)
}

fn within(name: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), TrainError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    let allowed = match *most {
        f64::MAX => format!("at least {least}"),
        most => format!("from {least} to {most}"),
    };
    Err(TrainError::Config(format!("`{name}` is {value}: it must be {allowed}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::Recipe;
    use crate::train::optimizer::Adam;

    #[test]
    fn recipes_are_within_and_slips_are_named() {
        for recipe in [Recipe::Default, Recipe::Features, Recipe::Book, Recipe::NoWarmup] {
            Config::new(recipe, "photos".into(), 0).check().unwrap();
        }
        let said = |change: fn(&mut Config)| {
            let mut config = Config::new(Recipe::Default, "photos".into(), 0);
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert_eq!(said(|c| c.head_stage.batch = 0), "`head_stage.batch` is 0: it must be at least 1");
        assert_eq!(
            said(|c| c.fine_tuning.as_mut().unwrap().stage.learning_rate = f64::NAN),
            "`fine_tuning.stage.learning_rate` is NaN: it must be at least 0"
        );
        assert_eq!(
            said(|c| c.head.hidden = 1 << 30),
            "`head.hidden` is 1073741824: it must be from 0 to 65536"
        );
        assert_eq!(
            said(|c| c.views.augment.crop.as_mut().unwrap().area = [2.0, 1.0]),
            "`views.augment.crop.area` is 2: it must be from 0.0001 to 1"
        );
        assert!(said(|c| c.views.source = ViewSource::Kept(0)).contains("views.source.kept"));
        let adam = |change: fn(&mut Adam)| {
            let mut config = Config::new(Recipe::Default, "photos".into(), 0);
            let mut own = Adam::default();
            change(&mut own);
            config.head_stage.optimizer = Optimizer::Adam(own);
            config.check().unwrap_err().to_string()
        };
        assert!(adam(|own| own.beta_2 = 1.0).contains("head_stage.optimizer.beta_1 or beta_2` is 1: "));
        assert!(adam(|own| own.epsilon = -1.0).contains("head_stage.optimizer.epsilon` is -1: "));
        assert!(said(|c| c.head_stage.schedule.decay = Decay::Cosine { floor: f64::NAN }).contains("floor"));
    }
}
